import { createRequire } from "node:module";
import type * as grpc from "@grpc/grpc-js";
import type { EngineClient } from "@pulumi/pulumi/proto/engine_grpc_pb";
import type { LogRequest, LogSeverity } from "@pulumi/pulumi/proto/engine_pb";
import { reasonOf, statusOf } from "../runtime/kubernetes/failure";
import type { Context } from "./context";

/** Milliseconds between two looks whether the engine is still there. */
const heartbeat = 2_000;
/** Milliseconds that one call to the engine gets. It is on this machine, but may be busy. */
const callTimeout = 10_000;

/** The engine that started this process ended; what it asked for must not go on without it. */
class EngineGoneError extends Error {
  override readonly name = "EngineGoneError";
  constructor() {
    super("the Pulumi engine that started this operation is gone; run pulumi-comfyui recover, then pulumi up again");
  }
}

interface Protocol {
  readonly client: EngineClient;
  readonly engine: typeof import("@pulumi/pulumi/proto/engine_pb");
  readonly status: typeof grpc.status;
  readonly metadata: grpc.Metadata;
}

/**
 * Connects to the engine whose address is this process's argument. The protocol's classes come from the SDK that runs this
 * process, found from its own script: a program may hold a second copy of the SDK.
 */
function connect(): Protocol | null {
  const [, script, address] = process.argv;
  if (script === undefined || address === undefined) return null;
  const sdk = createRequire(script);
  const { credentials, status, Metadata }: typeof grpc = sdk("@grpc/grpc-js");
  const services: { EngineClient: new (address: string, credentials: grpc.ChannelCredentials) => EngineClient } = sdk(
    "@pulumi/pulumi/proto/engine_grpc_pb",
  );
  return {
    client: new services.EngineClient(address, credentials.createInsecure()),
    engine: sdk("@pulumi/pulumi/proto/engine_pb"),
    status,
    metadata: new Metadata(),
  };
}

let connected: Protocol | null | undefined;

/** Runs an operation with a {@link Context} that shows its progress in the row of a resource and ends with the engine. */
export async function withEngine<T>(urn: string, operation: (context: Context) => Promise<T>): Promise<T> {
  connected ??= connect();
  const protocol = connected;
  if (protocol === null) throw new Error("this is not a dynamic provider's process: it was started without an engine");
  const abort = new AbortController();
  const timer = setInterval(() => void ping(), heartbeat);
  timer.unref();

  async function ping(): Promise<void> {
    if (protocol === null) return;
    if (await isGone(protocol)) abort.abort(new EngineGoneError());
  }
  const log = (severity: keyof typeof LogSeverity, message: string, ephemeral: boolean) =>
    send(protocol, urn, severity, message, ephemeral);

  try {
    return await operation({
      signal: abort.signal,
      progress: (message) => log("INFO", message, true),
      info: (message) => log("INFO", message, false),
      warn: (message) => log("WARNING", message, false),
      assertEngine: async () => {
        await ping();
        abort.signal.throwIfAborted();
      },
    });
  } catch (error) {
    // The API server's own words, without its headers.
    throw statusOf(error) === null ? error : new Error(reasonOf(error), { cause: error });
  } finally {
    clearInterval(timer);
  }
}

function send(
  { client, engine, metadata }: Protocol,
  urn: string,
  severity: keyof typeof LogSeverity,
  message: string,
  ephemeral: boolean,
): void {
  const request: LogRequest = new engine.LogRequest();
  request.setSeverity(engine.LogSeverity[severity]);
  request.setMessage(message);
  request.setUrn(urn);
  request.setEphemeral(ephemeral);
  // What cannot be shown is no reason to stop; whether the engine is gone is the heartbeat's to find.
  client.log(request, metadata, { deadline: Date.now() + callTimeout }, () => undefined);
}

/** Any answer, an error included, comes from a live engine. One that does not answer in time is asked again. */
function isGone({ client, engine, status, metadata }: Protocol): Promise<boolean> {
  return new Promise((resolve) => {
    client.getRootResource(
      new engine.GetRootResourceRequest(),
      metadata,
      { deadline: Date.now() + callTimeout },
      (error) => resolve(error?.code === status.UNAVAILABLE),
    );
  });
}
