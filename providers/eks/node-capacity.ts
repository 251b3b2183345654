import { z } from "zod";
import { hasServed, withEvent, withRelease } from "../../runtime/deployment";
import {
  giveBack,
  giveBackForGood,
  NodesUnavailableError,
  nodeGroupOf,
  nodeGroupState,
  nodesText,
  rotationCost,
  scaleUp,
  trim,
} from "../../runtime/eks";
import { type ServiceRecords, trafficAfterFailure } from "../../runtime/kubernetes";
import type { Problem } from "../../runtime/problems";
import { durationSchema } from "../../runtime/units";
import type { Context } from "../context";
import { countSchema } from "../declarations/scaling";
import { clusterServiceShape, placeInputs, recordsOf } from "../kubernetes/cluster";
import { changed, type ResourceDefinition, unchanged } from "../resource";
import { isUnknown } from "../unknown";
import { machineSchema, nodesFor } from "./machine";

const schema = z.object({
  ...clusterServiceShape,
  release: z.string(),
  nodeGroup: z.object({
    cluster: z.string(),
    region: z.string().optional(),
    profile: z.string().optional(),
    nodeGroup: z.string(),
  }),
  /** Instances that there are to be, or with which an autoscaler starts; its bounds. */
  count: countSchema,
  least: countSchema,
  most: countSchema,
  /** What each instance needs of its node. */
  gpu: z.object({ resource: z.string().default("nvidia.com/gpu"), count: z.int().min(0).default(1) }).prefault({}),
  machine: machineSchema,
  timeout: durationSchema,
});

type Inputs = z.output<typeof schema>;
interface Outputs {
  readonly nodes: number;
}

/**
 * Nodes of a release's own: scales its node group up before there are pods, and to nothing after them. Fewer nodes are wanted only once
 * instances have drained, so scaling in is the gate's.
 */
export const nodeCapacity: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: [...placeInputs, "release"],
  ignore: ["timeout"],
  check: async (inputs, olds, context) => {
    const problems = await costProblems(inputs, olds, context);
    return { inputs, problems };
  },
  live: async (_id, state) => {
    const found = await nodeGroupState(await nodeGroupOf(state.nodeGroup));
    // One that is gone is the node group's own resource to see, when it is refreshed.
    if (found === null) return changed;
    return found.desired < nodesFor(state.least, state) ? changed : unchanged;
  },
  create: async (inputs, context) => ({ id: inputs.release, outputs: await provide(inputs, context) }),
  update: async (_id, _state, inputs, context) => provide(await asScaled(inputs), context),
  delete: async (_id, state, context) => {
    await giveBackForGood(await nodeGroupOf(state.nodeGroup), context);
  },
  read: async (_id, { nodes, nodeGroup }) =>
    (await nodeGroupState(await nodeGroupOf(nodeGroup))) === null ? null : { nodes },
};

/** Says at preview what new nodes cost, and what of the account stands in their way. Says nothing where no node comes. */
async function costProblems(inputs: Inputs, olds: Inputs | null, { info }: Context): Promise<readonly Problem[]> {
  const { release, machine, nodeGroup, count, least, most } = inputs;
  if (!isUnknown(release) || isUnknown(machine)) return [];
  const { region, profile } = nodeGroup;
  const { text, problem, notes } = await rotationCost({
    ...(isUnknown(region) ? {} : { region }),
    ...(isUnknown(profile) ? {} : { profile }),
    instanceTypes: machine.instanceTypes,
    capacity: machine.capacity,
    // How many an autoscaler wants is known when the release is.
    coming: nodesFor(isUnknown(count) ? most : count, inputs),
    certain: nodesFor(isUnknown(count) ? least : count, inputs),
    standing: olds === null || isUnknown(olds.count) ? 0 : nodesFor(olds.count, olds),
  });
  info([isUnknown(count) ? `at most ${text}` : text, ...notes].join("; "));
  return problem === null ? [] : [{ path: "placement", reason: problem }];
}

/** Where an autoscaler scales within its bounds, the number with which the release began is no longer what is wanted. */
async function asScaled(inputs: Inputs): Promise<Inputs> {
  const { count, least } = inputs;
  if (least === count) return inputs;
  const { desired = 0 } = (await nodeGroupState(await nodeGroupOf(inputs.nodeGroup))) ?? {};
  return desired >= nodesFor(least, inputs) ? { ...inputs, count: least } : inputs;
}

async function provide(inputs: Inputs, context: Context): Promise<Outputs> {
  const { count, most, gpu, timeout } = inputs;
  const nodes = nodesFor(count, inputs);
  const records = await recordsOf(inputs, context);
  await context.assertEngine();
  try {
    const group = await nodeGroupOf(inputs.nodeGroup);
    const { cluster } = records;
    await scaleUp(group, { ...context, cluster, nodes, most: nodesFor(most, inputs), gpu, timeout });
    return { nodes };
  } catch (error) {
    if (context.signal.aborted) throw error;
    await context.assertEngine();
    const reason = error instanceof Error ? error.message : String(error);
    throw await fail(records, inputs, reason, error, context);
  }
}

/** Gives back what nothing runs on, and records the failure: the next attempt scales again. */
async function fail(
  records: ServiceRecords,
  inputs: Inputs,
  reason: string,
  cause: unknown,
  context: Context,
): Promise<Error> {
  const { release, service, nodeGroup, count } = inputs;
  const wanted = nodesFor(count, inputs);
  const what = `release ${release} does not get its ${nodesText(wanted)}: ${reason}`;
  const told = cause instanceof NodesUnavailableError ? what : `${what} (its nodes are given back)`;
  try {
    let served = false;
    await records.change((record) => {
      const known = record.releases.find(({ id }) => id === release);
      if (known === undefined) return record;
      served = hasServed(known);
      return withRelease(record, withEvent(known, "failed", new Date().toISOString(), reason.slice(0, 2_000)));
    });
    const group = await nodeGroupOf(nodeGroup);
    const { cluster } = records;
    if (served) await trim(group, { ...context, cluster, service, release, nodes: 0 });
    else await giveBack(group, context);
    const serving = (await records.target()).release;
    const consequence = trafficAfterFailure(serving, release, "what of it runs");
    return new Error(`${told}; ${consequence}`, { cause });
  } catch (second) {
    const left = `what there is of node group ${nodeGroup.nodeGroup} could not be given back and stays: ${(second as Error).message}`;
    return new Error(`${what}; ${left}`, { cause });
  }
}
