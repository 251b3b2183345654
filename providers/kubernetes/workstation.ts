import { z } from "zod";
import { ownerName, type PodSettings, sameOwner } from "../../runtime/deployment";
import {
  endStuckPods,
  scale,
  stopWorkstation,
  untilWorkstationRuns,
  type WorkstationRecords,
} from "../../runtime/kubernetes";
import { durationSchema } from "../../runtime/units";
import type { Context } from "../context";
import { ownerSchema } from "../declarations/common";
import { changed, type ResourceDefinition, unchanged } from "../resource";
import { workstationPlaceInputs, workstationRecordsOf, workstationShape } from "./cluster";

const schema = z.object({
  ...workstationShape,
  owner: ownerSchema,
  state: z.enum(["running", "stopped"]),
  /** UID of the Deployment: made anew, its pod has to be started anew. */
  deployment: z.string(),
  /** What its pod asks for: to tell what is missing. */
  pod: z.custom<PodSettings>(),
  startTimeout: durationSchema,
  stopTimeout: durationSchema,
});

type Inputs = z.output<typeof schema>;

/** Has a workstation's pod run or not, as is declared. */
export const clusterWorkstation: ResourceDefinition<Inputs, object> = {
  schema,
  replaceOn: [...workstationPlaceInputs, "owner"],
  // Two on one environment would write to the same folders.
  deleteBeforeReplace: true,
  ignore: ["pod", "startTimeout", "stopTimeout"],
  live: async (_id, state) => {
    const records = await workstationRecordsOf(state);
    return (await isAsDeclared(records, state)) ? unchanged : changed;
  },
  create: async (inputs, context) => {
    await bring(inputs, context);
    return { id: inputs.workstation, outputs: {} };
  },
  update: async (_id, state, inputs, context) => {
    const records = await workstationRecordsOf(inputs);
    // It has stopped itself, and nobody has asked for anything else since.
    const stays = state.state === "running" && inputs.state === "running" && state.deployment === inputs.deployment;
    if (stays && (await hasStoppedItself(records))) return {};
    await bring(inputs, context);
    return {};
  },
  delete: async (_id, state, context) => {
    const records = await workstationRecordsOf(state);
    const record = await records.record();
    if (record !== null && !sameOwner(record.claim.owner, state.owner)) {
      context.warn(`workstation ${state.workstation} belongs to ${ownerName(record.claim.owner)} now: it stays`);
      return;
    }
    await stopWorkstation(records, context);
  },
  read: async (_id, state) => ((await (await workstationRecordsOf(state)).deployment()) === null ? null : {}),
};

async function bring(inputs: Inputs, context: Context): Promise<void> {
  const records = await workstationRecordsOf(inputs);
  const { state, owner, deployment, pod, startTimeout, stopTimeout } = inputs;
  await context.assertEngine();
  await records.declare(owner, state);
  if (state === "stopped") return stopWorkstation(records, context);
  await endStuckPods(records);
  await scale(records.cluster, records.names.workstation, 1);
  await untilWorkstationRuns(records, { ...context, deployment, settings: pod, timeout: startTimeout, stopTimeout });
}

async function isAsDeclared(records: WorkstationRecords, { state, deployment: uid }: Inputs): Promise<boolean> {
  const deployment = await records.deployment();
  if (deployment === null || deployment.metadata?.uid !== uid) return false;
  const { spec, status, metadata } = deployment;
  const isObserved = (status?.observedGeneration ?? 0) >= (metadata?.generation ?? 0);
  if (spec?.replicas === 0) {
    if ((status?.replicas ?? 0) > 0 || !isObserved) return false;
    return state === "stopped" || (await records.idleStopped()) !== null;
  }
  if (state === "stopped") return false;
  return isObserved && status?.replicas === 1 && status.readyReplicas === 1 && status.updatedReplicas === 1;
}

async function hasStoppedItself(records: WorkstationRecords): Promise<boolean> {
  const deployment = await records.deployment();
  return deployment?.spec?.replicas === 0 && (await records.idleStopped()) !== null;
}
