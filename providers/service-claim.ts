import { resolve } from "node:path";
import { z } from "zod";
import { readServiceRecords, type ServiceSettings } from "../runtime/supervisor";
import { describeOwner, ownerSchema, sameOwner } from "./declarations/common";
import { drainSchema } from "./declarations/online-service";
import { serviceShape, supervisorOf } from "./local";
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
  live: async (_id, { directory, service, owner }) => {
    const record = readServiceRecords(resolve(directory)).find(({ name }) => name === service);
    return record !== undefined && sameOwner(record.claim.owner, owner) ? unchanged : changed;
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
  delete: async (_id, state) => (await supervisorOf(state)).releaseClaim(state.service, state.owner),
  read: async (_id, { directory, service, owner }) => {
    const record = readServiceRecords(resolve(directory)).find(({ name }) => name === service);
    if (record === undefined) return null;
    if (sameOwner(record.claim.owner, owner)) return { since: record.claim.since };
    throw new Error(
      `service ${service} was taken over by ${describeOwner(record.claim.owner)} at ${record.claim.since}`,
    );
  },
};

async function claim(inputs: Inputs) {
  const supervisor = await supervisorOf(inputs);
  const { owner, takeover } = inputs;
  return supervisor.claimService(inputs.service, { owner, takeover, settings: settingsOf(inputs) });
}
