import { z } from "zod";
import type { ServiceState } from "../runtime/supervisor";
import type { Context } from "./context";
import { lookUpService, serviceShape, supervisorOf } from "./local";
import { changed, type ResourceDefinition, unchanged } from "./resource";

const schema = z.object({ ...serviceShape, release: z.string() });

type Inputs = z.output<typeof schema>;

/** Points the gateway at a release. The one part of a rotation that is updated in place. */
export const trafficSwitch: ResourceDefinition<Inputs, object> = {
  schema,
  replaceOn: ["directory", "service"],
  live: async (_id, state) => ((await lookUpService(state))?.serving === state.release ? unchanged : changed),
  create: async (inputs, context) => {
    await move(inputs, context);
    return { id: inputs.service, outputs: {} };
  },
  update: async (_id, _state, inputs, context) => {
    await move(inputs, context);
    return {};
  },
  delete: async (_id, { directory, service, release }, { assertEngine }) => {
    const supervisor = await supervisorOf({ directory });
    const state = await supervisor.service(service);
    if (state === null || state.serving === null) return;
    if (state.serving !== release) throw new Error(supersededText(state, release));
    await assertEngine();
    await supervisor.clearTarget(service);
  },
  read: async () => ({}),
};

/**
 * Moves the traffic, unless a later release has it: a process that outlived its engine comes too late, and revisions
 * only grow. What the platform knew to serve when we looked is what it must still serve when we act.
 */
async function move({ directory, service, release }: Inputs, { progress, assertEngine }: Context): Promise<void> {
  const supervisor = await supervisorOf({ directory });
  const state = await supervisor.service(service);
  if (state === null) throw new Error(`the platform has no service ${service}`);
  if (revisionOf(state, state.serving) > revisionOf(state, release)) throw new Error(supersededText(state, release));
  progress(`moving traffic to ${release}`);
  await assertEngine();
  await supervisor.setTarget(service, { release, expectedServing: state.serving });
  progress(`traffic goes to ${release}`);
}

function revisionOf({ releases }: ServiceState, release: string | null): number {
  return releases.find(({ id }) => id === release)?.revision ?? 0;
}

function supersededText({ name, serving }: ServiceState, release: string): string {
  return `service ${name} serves ${serving} meanwhile, which is later than ${release}: somebody else moved its traffic, and it stays`;
}
