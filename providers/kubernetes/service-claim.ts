import { z } from "zod";
import { ownerName, sameOwner } from "../../runtime/deployment";
import { deleteNodeGroup } from "../../runtime/eks";
import { programHash, provideProgram, removePrograms, removeReleases } from "../../runtime/kubernetes";
import type { Context } from "../context";
import { ownerSchema } from "../declarations/common";
import { drainSchema } from "../declarations/online-service";
import { changed, type ResourceDefinition, unchanged } from "../resource";
import { clusterServiceShape, placeInputs, recordsOf } from "./cluster";

const schema = z.object({
  ...clusterServiceShape,
  owner: ownerSchema,
  takeover: z.boolean().default(false),
  drain: drainSchema.prefault({}),
  /** Identity of the programs that pods run; set by check. */
  program: z.string().optional(),
});

type Inputs = z.output<typeof schema>;
interface Outputs {
  readonly since: string;
  /** Name of the ConfigMap that has the programs of gateway and agent. */
  readonly programs: string;
}

/** Claims a service's name in a namespace for one Pulumi stack, and has the programs of its pods there. */
export const clusterServiceClaim: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: [...placeInputs, "owner"],
  ignore: ["takeover"],
  check: async (inputs) => ({ inputs: { ...inputs, program: programHash() }, problems: [] }),
  live: async (_id, state) => {
    const record = await (await recordsOf(state)).record();
    return record !== null && sameOwner(record.claim.owner, state.owner) ? unchanged : changed;
  },
  create: async (inputs, context) => {
    await context.assertEngine();
    return { id: `${inputs.namespace}/${inputs.service}`, outputs: await claim(inputs, context) };
  },
  update: async (_id, _state, inputs, context) => {
    await context.assertEngine();
    return claim(inputs, context);
  },
  delete: async (_id, state, context) => {
    const records = await recordsOf(state, context);
    const record = await records.record();
    if (record === null) return;
    if (!sameOwner(record.claim.owner, state.owner)) {
      const { owner, since } = record.claim;
      context.warn(`service ${state.service} was taken over by ${ownerName(owner)} at ${since}: what serves it stays`);
      return;
    }
    await context.assertEngine();
    await removeReleases(records, { ...context, removeNodes: deleteNodeGroup });
    await removePrograms(records, null);
    await records.remove();
  },
  // A claim that another stack has now is gone, as far as this one is concerned.
  read: async (_id, state) => {
    const record = await (await recordsOf(state)).record();
    if (record === null || !sameOwner(record.claim.owner, state.owner)) return null;
    return { since: record.claim.since, programs: state.programs };
  },
};

async function claim(inputs: Inputs, context: Context): Promise<Outputs> {
  const records = await recordsOf(inputs, context);
  const { since } = await records.claim(inputs.owner, { drain: inputs.drain }, inputs.takeover);
  const programs = await provideProgram(records, inputs.owner);
  return { since, programs };
}
