import { z } from "zod";
import { ownerName, sameOwner } from "../../runtime/deployment";
import { programHash, provideProgram, removePrograms } from "../../runtime/kubernetes";
import { ownerSchema } from "../declarations/common";
import { changed, type ResourceDefinition, unchanged } from "../resource";
import { workstationPlaceInputs, workstationRecordsOf, workstationShape } from "./cluster";

const schema = z.object({
  ...workstationShape,
  owner: ownerSchema,
  /** Identity of the programs that pods run; set by check. */
  program: z.string().optional(),
});

type Inputs = z.output<typeof schema>;
interface Outputs {
  readonly since: string;
  /** Name of the ConfigMap that has the agent's program. */
  readonly programs: string;
}

/** Claims a workstation's name in a namespace for one Pulumi stack, and has the program of its agent there. */
export const clusterWorkstationClaim: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: [...workstationPlaceInputs, "owner"],
  check: async (inputs) => ({ inputs: { ...inputs, program: programHash() }, problems: [] }),
  live: async (_id, state) => {
    const record = await (await workstationRecordsOf(state)).record();
    return record !== null && sameOwner(record.claim.owner, state.owner) ? unchanged : changed;
  },
  create: async (inputs, { assertEngine }) => {
    await assertEngine();
    return { id: `${inputs.namespace}/${inputs.workstation}`, outputs: await claim(inputs) };
  },
  update: async (_id, _state, inputs, { assertEngine }) => {
    await assertEngine();
    return claim(inputs);
  },
  delete: async (_id, state, context) => {
    const records = await workstationRecordsOf(state);
    const record = await records.record();
    if (record === null) return;
    if (!sameOwner(record.claim.owner, state.owner)) {
      context.warn(
        `workstation ${state.workstation} belongs to ${ownerName(record.claim.owner)} now: its record stays`,
      );
      return;
    }
    await context.assertEngine();
    await removePrograms(records, null);
    await records.remove();
  },
  // One that another stack has now is gone, as far as this one is concerned.
  read: async (_id, state) => {
    const record = await (await workstationRecordsOf(state)).record();
    if (record === null || !sameOwner(record.claim.owner, state.owner)) return null;
    return { since: record.claim.since, programs: state.programs };
  },
};

async function claim(inputs: Inputs): Promise<Outputs> {
  const records = await workstationRecordsOf(inputs);
  const { since } = await records.claim(inputs.owner);
  return { since, programs: await provideProgram(records, inputs.owner) };
}
