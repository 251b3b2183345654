import { z } from "zod";
import type { ServiceSettings, SupervisorClient } from "../runtime/supervisor";
import type { Context } from "./context";
import { ownerSchema, sameOwner } from "./declarations/common";
import { drainSchema } from "./declarations/online-service";
import { requiredService, untilDrained } from "./drain";
import { recordedService, serviceShape, supervisorOf } from "./local";
import { isOwned } from "./ownership";
import { changed, type ResourceDefinition, unchanged } from "./resource";

const schema = z.object({
  ...serviceShape,
  owner: ownerSchema,
  takeover: z.boolean().default(false),
  drain: drainSchema.prefault({}),
});

type Inputs = z.output<typeof schema>;

const settingsOf = ({ drain }: Inputs): ServiceSettings => ({ drain });

/** Claims a service's name on its platform for one Pulumi stack, and speaks at preview for everything that is declared. */
export const serviceClaim: ResourceDefinition<Inputs, { since: string }> = {
  schema,
  replaceOn: ["directory", "service", "owner"],
  ignore: ["takeover"],
  live: async (_id, state) => {
    const record = recordedService(state);
    return record !== undefined && sameOwner(record.claim.owner, state.owner) ? unchanged : changed;
  },
  create: async (inputs, { assertEngine }) => {
    await assertEngine();
    const { since } = await claim(inputs);
    return { id: `${inputs.service}@${inputs.directory}`, outputs: { since } };
  },
  update: async (_id, _state, inputs, { assertEngine }) => {
    await assertEngine();
    const { since } = await claim(inputs);
    return { since };
  },
  delete: async (_id, state, context) => {
    const supervisor = await supervisorOf(state);
    const service = await supervisor.service(state.service);
    if (service === null || !isOwned(service, state, context.warn)) return;
    await removeLeftOvers(supervisor, state.service, context);
    await context.assertEngine();
    await supervisor.releaseClaim(state.service, state.owner);
  },
  // A claim that another stack has now is gone, as far as this one is concerned.
  read: async (_id, state) => {
    const record = recordedService(state);
    if (record === undefined || !sameOwner(record.claim.owner, state.owner)) return null;
    return { since: record.claim.since };
  },
};

/**
 * Lets the instances go that no resource knows: of a stack that the service was taken over from, or of a state that was lost.
 * By now this stack's own are gone. What still serves stays, and so does then the claim.
 */
async function removeLeftOvers(supervisor: SupervisorClient, service: string, context: Context): Promise<void> {
  const { instances, serving } = await requiredService(supervisor, service);
  for (const release of new Set(instances.map(({ release }) => release))) {
    if (release === serving) continue;
    await context.assertEngine();
    await supervisor.setCount(service, release, 0);
    await untilDrained(supervisor, service, release, 0, context);
  }
}

async function claim(inputs: Inputs) {
  const supervisor = await supervisorOf(inputs);
  const { owner, takeover } = inputs;
  return supervisor.claimService(inputs.service, { owner, takeover, settings: settingsOf(inputs) });
}
