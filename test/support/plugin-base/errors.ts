import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { ErrorResourceInitFailed } from "@pulumi/pulumi/proto/provider_pb";
import { Status } from "@pulumi/pulumi/proto/status_pb";
import { Any } from "google-protobuf/google/protobuf/any_pb";
import { toStruct } from "./properties";
import type { Values } from "./values";

/** The resource is there and has to be saved, but not as it should be: the engine tries again with the next update. */
export class InitializationFailed extends Error {
  override name = "InitializationFailed";
  constructor(
    message: string,
    readonly id: string,
    readonly properties: Values,
    readonly reasons: readonly string[],
    readonly inputs?: Values,
  ) {
    super(message);
  }
}

/** An error as the engine reads it. */
export function toServiceError(error: unknown): ServiceError {
  const message = error instanceof Error ? error.message : String(error);
  const metadata = new Metadata();
  if (error instanceof InitializationFailed) {
    const detail = new ErrorResourceInitFailed();
    detail.setId(error.id);
    detail.setProperties(toStruct(error.properties));
    detail.setReasonsList([message, ...error.reasons]);
    if (error.inputs !== undefined) detail.setInputs(toStruct(error.inputs));
    const packed = new Any();
    packed.pack(detail.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
    const answer = new Status();
    answer.setCode(status.UNKNOWN);
    answer.setMessage(message);
    answer.addDetails(packed);
    // Where gRPC looks for structured details, in every language but Go by hand.
    metadata.add("grpc-status-details-bin", Buffer.from(answer.serializeBinary()));
  }
  return Object.assign(new Error(message), { code: status.UNKNOWN, details: message, metadata });
}
