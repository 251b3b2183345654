import { z } from "zod";
import type { ServiceState, SupervisorClient } from "../runtime/supervisor";
import type { Context } from "./context";
import { describeOwner, ownerSchema, sameOwner } from "./declarations/common";
import { lookUpService, serviceShape, supervisorOf } from "./local";
import { demandOwned, isOwned } from "./ownership";
import { changed, type ResourceDefinition, unchanged } from "./resource";

const schema = z.object({ ...serviceShape, owner: ownerSchema, release: z.string() });

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
  delete: async (_id, state, { warn, assertEngine }) => {
    const supervisor = await supervisorOf(state);
    const service = await supervisor.service(state.service);
    if (service === null || service.serving === null) return;
    // A run that was killed may have moved the traffic without the state's knowing: whatever serves an own service, it ends.
    if (service.serving !== state.release && !isOwned(service, state, warn)) return;
    await assertEngine();
    await supervisor.clearTarget(state.service);
  },
  read: async () => ({}),
};

/**
 * Moves the traffic, unless a later release has it: a process that outlived its engine comes too late, and revisions
 * only grow. What the platform knew to serve when we looked is what it must still serve when we act.
 */
async function move(inputs: Inputs, context: Context): Promise<void> {
  const { service, release } = inputs;
  const { progress, assertEngine } = context;
  const supervisor = await supervisorOf(inputs);
  const state = await supervisor.service(service);
  if (state === null) throw new Error(`the platform has no service ${service}`);
  demandOwned(state, inputs);
  if (revisionOf(state, state.serving) > revisionOf(state, release)) throw new Error(supersededText(state, release));
  progress(`moving traffic to ${release}`);
  await assertEngine();
  const moved = await supervisor.setTarget(service, { release, expectedServing: state.serving });
  progress(`traffic goes to ${release}`);
  await dismissOthers(supervisor, moved, inputs, context);
}

/** After a takeover nobody else lets go of what the former owner left. Its instances finish their work first. */
async function dismissOthers(
  supervisor: SupervisorClient,
  { name, releases, instances }: ServiceState,
  { owner }: Inputs,
  { info }: Context,
): Promise<void> {
  for (const { id, owner: former } of releases) {
    if (sameOwner(former, owner) || !instances.some(({ release }) => release === id)) continue;
    await supervisor.setCount(name, id, 0);
    info(`the instances of ${id}, which ${describeOwner(former)} declared, finish their work and go`);
  }
}

function revisionOf({ releases }: ServiceState, release: string | null): number {
  return releases.find(({ id }) => id === release)?.revision ?? 0;
}

function supersededText({ name, serving }: ServiceState, release: string): string {
  return `service ${name} serves ${serving} meanwhile, which is later than ${release}: somebody else moved its traffic, and it stays`;
}
