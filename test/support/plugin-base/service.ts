import type { handleUnaryCall, ServerUnaryCall, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";
import * as proto from "@pulumi/pulumi/proto/provider_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import type { Change } from "./differences";
import { toServiceError } from "./errors";
import { fromStruct, plainObject, toStruct } from "./properties";
import type { StandIn } from "./stand-in";

/** The requests of Pulumi's ResourceProvider protocol that are answered; the engine takes the others for not implemented. */
export function providerService(
  name: string,
  version: string,
  provider: StandIn,
  active: Activity,
): UntypedServiceImplementation {
  const answer =
    <Q, A>(work: (request: Q) => Promise<A> | A): handleUnaryCall<Q, A> =>
    (call: ServerUnaryCall<Q, A>, callback: sendUnaryData<A>) => {
      active.begin();
      Promise.resolve()
        .then(() => work(call.request))
        .then(
          (result) => callback(null, result),
          (error: unknown) => callback(toServiceError(error)),
        )
        .finally(() => active.end());
    };

  return {
    getPluginInfo: answer((_: Empty) => {
      const info = new PluginInfo();
      info.setVersion(version);
      return info;
    }),
    getSchema: answer((_: proto.GetSchemaRequest) => {
      const response = new proto.GetSchemaResponse();
      response.setSchema(JSON.stringify({ name, version }));
      return response;
    }),
    getMapping: answer((_: proto.GetMappingRequest) => new proto.GetMappingResponse()),
    attach: answer((_: unknown) => new Empty()),
    cancel: answer((_: Empty) => {
      provider.cancel();
      return new Empty();
    }),

    checkConfig: answer((request: proto.CheckRequest) => {
      const response = new proto.CheckResponse();
      response.setInputs(request.getNews());
      return response;
    }),
    diffConfig: answer((request: proto.DiffRequest) => {
      const olds = request.hasOldInputs() ? request.getOldInputs() : request.getOlds();
      const { changed, replaces } = provider.diffConfig(
        plainObject(fromStruct(olds)),
        plainObject(fromStruct(request.getNews())),
      );
      const response = new proto.DiffResponse();
      response.setChanges(changes(changed.length + replaces.length > 0));
      response.setDiffsList([...changed]);
      response.setReplacesList([...replaces]);
      return response;
    }),
    configure: answer(async (request: proto.ConfigureRequest) => {
      const variables = request.getVariablesMap();
      await provider.configure((setting) => variables.get(`${name}:config:${setting}`));
      const response = new proto.ConfigureResponse();
      response.setAcceptsecrets(true);
      response.setSupportspreview(true);
      return response;
    }),

    invoke: answer(async (request: proto.InvokeRequest) => {
      const token = request.getTok();
      if (provider.invoke === undefined) throw new Error(`the stand-in of ${name} does not serve ${token}`);
      const response = new proto.InvokeResponse();
      response.setReturn(toStruct(await provider.invoke(token, plainObject(fromStruct(request.getArgs())))));
      return response;
    }),

    check: answer(async (request: proto.CheckRequest) => {
      const inputs = await provider.check(
        request.getUrn(),
        fromStruct(request.getOlds()),
        fromStruct(request.getNews()),
        Buffer.from(request.getRandomseed_asU8()),
      );
      const response = new proto.CheckResponse();
      response.setInputs(toStruct(inputs));
      return response;
    }),
    diff: answer(async (request: proto.DiffRequest) => {
      const { details, replaces, deleteBeforeReplace } = await provider.diff(
        request.getUrn(),
        fromStruct(request.getOlds()),
        fromStruct(request.getNews()),
        request.getIgnorechangesList(),
      );
      const response = new proto.DiffResponse();
      response.setChanges(changes(details.size + replaces.length > 0));
      response.setReplacesList([...replaces]);
      response.setDeletebeforereplace(deleteBeforeReplace);
      response.setHasdetaileddiff(true);
      for (const [path, difference] of details) {
        const entry = new proto.PropertyDiff();
        entry.setKind(kinds[difference.change][difference.replaces ? 1 : 0]);
        entry.setInputdiff(difference.change === "delete");
        response.getDetaileddiffMap().set(path, entry);
      }
      return response;
    }),
    create: answer(async (request: proto.CreateRequest) => {
      const { id, properties } = await provider.create(
        request.getUrn(),
        fromStruct(request.getProperties()),
        request.getTimeout(),
        request.getPreview(),
      );
      const response = new proto.CreateResponse();
      response.setId(id);
      response.setProperties(toStruct(properties));
      return response;
    }),
    update: answer(async (request: proto.UpdateRequest) => {
      const properties = await provider.update(
        request.getUrn(),
        fromStruct(request.getOlds()),
        fromStruct(request.getNews()),
        {
          id: request.getId(),
          timeout: request.getTimeout(),
          preview: request.getPreview(),
          ignored: request.getIgnorechangesList(),
        },
      );
      const response = new proto.UpdateResponse();
      response.setProperties(toStruct(properties));
      return response;
    }),
    read: answer(async (request: proto.ReadRequest) => {
      const found = await provider.read(
        request.getUrn(),
        request.getId(),
        fromStruct(request.getProperties()),
        fromStruct(request.getInputs()),
      );
      const response = new proto.ReadResponse();
      // Without an id it is gone.
      if (found === undefined) return response;
      response.setId(found.id);
      response.setProperties(toStruct(found.properties));
      response.setInputs(toStruct(found.inputs));
      return response;
    }),
    delete: answer(async (request: proto.DeleteRequest) => {
      await provider.delete(
        request.getUrn(),
        request.getId(),
        fromStruct(request.getProperties()),
        request.getTimeout(),
      );
      return new Empty();
    }),
  };
}

/** Told of every request's begin and end. */
export interface Activity {
  begin(): void;
  end(): void;
}

const { Kind } = proto.PropertyDiff;
const kinds: Readonly<Record<Change, readonly [proto.PropertyDiff.Kind, proto.PropertyDiff.Kind]>> = {
  add: [Kind.ADD, Kind.ADD_REPLACE],
  delete: [Kind.DELETE, Kind.DELETE_REPLACE],
  update: [Kind.UPDATE, Kind.UPDATE_REPLACE],
};

function changes(some: boolean): proto.DiffResponse.DiffChanges {
  return some ? proto.DiffResponse.DiffChanges.DIFF_SOME : proto.DiffResponse.DiffChanges.DIFF_NONE;
}
