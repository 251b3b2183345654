import { z } from "zod";
import type { GatewayDeclaration } from "../runtime/supervisor";
import { durationSchema, sizeSchema } from "../runtime/units";
import { ownerSchema, portSchema } from "./declarations/common";
import { requiredService } from "./drain";
import { lookUpService, serviceShape, supervisorOf } from "./local";
import { demandOwned, isOwned } from "./ownership";
import { changed, type ResourceDefinition, unchanged } from "./resource";

const schema = z.object({
  ...serviceShape,
  owner: ownerSchema,
  port: portSchema.optional(),
  /** SHA-256 of each accepted key, in hex. */
  apiKeyHashes: z.array(z.string()).default([]),
  maximumBodySize: sizeSchema,
  resultRetention: durationSchema,
  maximumSpoolSize: sizeSchema,
});

type Inputs = z.output<typeof schema>;
interface Outputs {
  readonly url: string;
}

/** The reverse proxy in front of a service; its address stays the same over every rotation. */
export const gateway: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: ["directory", "service"],
  live: async (_id, state) => ((await lookUpService(state))?.gateway?.pid == null ? changed : unchanged),
  create: async (inputs, context) => {
    context.progress("starting the gateway");
    await context.assertEngine();
    const outputs = await declare(inputs);
    context.progress(`listening at ${outputs.url}`);
    return { id: inputs.service, outputs };
  },
  update: async (_id, _state, inputs, { assertEngine }) => {
    await assertEngine();
    return declare(inputs);
  },
  delete: async (_id, state, { warn }) => {
    const supervisor = await supervisorOf(state);
    const service = await supervisor.service(state.service);
    if (service === null || isOwned(service, state, warn)) await supervisor.removeGateway(state.service);
  },
  read: async (_id, state) => {
    const { url } = (await lookUpService(state))?.gateway ?? {};
    return { url: url ?? state.url };
  },
};

async function declare(inputs: Inputs): Promise<Outputs> {
  const { port = null, apiKeyHashes, maximumBodySize, resultRetention, maximumSpoolSize } = inputs;
  const declaration: GatewayDeclaration = { port, apiKeyHashes, maximumBodySize, resultRetention, maximumSpoolSize };
  const supervisor = await supervisorOf(inputs);
  demandOwned(await requiredService(supervisor, inputs.service), inputs);
  const { url } = await supervisor.declareGateway(inputs.service, declaration);
  return { url };
}
