import { z } from "zod";
import { countSchema } from "./declarations/scaling";
import { lookUpService, serviceShape, supervisorOf } from "./local";
import { changed, type ResourceDefinition, unchanged } from "./resource";

const schema = z.object({ ...serviceShape, release: z.string(), count: countSchema });

type Inputs = z.output<typeof schema>;

/** The instances of a release. Declares how many there are; the health gate waits for them. */
export const instances: ResourceDefinition<Inputs, object> = {
  schema,
  replaceOn: ["directory", "service", "release"],
  live: async (_id, state) => {
    const service = await lookUpService(state);
    const release = service?.releases.find(({ id }) => id === state.release);
    return release?.count === state.count ? unchanged : changed;
  },
  create: async (inputs, { assertEngine }) => {
    await assertEngine();
    await declare(inputs);
    return { id: inputs.release, outputs: {} };
  },
  update: async (_id, _state, inputs, { assertEngine }) => {
    await assertEngine();
    await declare(inputs);
    return {};
  },
  // By now the gate has let them drain; this only takes back the declaration of a release that no gate was made for.
  delete: async (_id, { directory, service, release }) => {
    const supervisor = await supervisorOf({ directory });
    const state = await supervisor.service(service);
    if (state?.releases.some(({ id }) => id === release)) await supervisor.setCount(service, release, 0);
  },
  read: async () => ({}),
};

async function declare({ directory, service, release, count }: Inputs): Promise<void> {
  await (await supervisorOf({ directory })).setCount(service, release, count);
}
