import type { V1Deployment } from "@kubernetes/client-node";
import { z } from "zod";
import { hasServed, type ReleaseNodes, withEvent, withRelease } from "../../runtime/deployment";
import { awsReason, giveBackNodes, isForbidden, nodeGroupOf, trim } from "../../runtime/eks";
import {
  deploymentOf,
  drainRelease,
  isAvailable,
  objectNames,
  removeAutoscaler,
  type ServiceRecords,
  scale,
  UnhealthyError,
  untilProven,
} from "../../runtime/kubernetes";
import { durationSchema } from "../../runtime/units";
import type { Context } from "../context";
import { countSchema } from "../declarations/scaling";
import { changed, type ResourceDefinition, unchanged } from "../resource";
import { clusterServiceShape, placeInputs, recordsOf } from "./cluster";

const schema = z.object({
  ...clusterServiceShape,
  release: z.string(),
  /** UID of the release's Deployment: made anew, its pods have to be proven anew. */
  deployment: z.string(),
  /** How many instances there are to be; with an autoscaler, with how many they start. */
  count: countSchema,
  /** What owns the number, once the release serves; nothing where it is declared. */
  autoscaler: z.enum(["keda", "externalMetric"]).optional(),
  /** How many nodes of its own a release with a declared count needs; absent where it has none, or an autoscaler of nodes. */
  nodes: z.int().optional(),
  timeout: durationSchema,
});

type Inputs = z.output<typeof schema>;

/** Passes when every pod of a release is proven; going away, it waits until their work is done. */
export const clusterHealthGate: ResourceDefinition<Inputs, object> = {
  schema,
  replaceOn: [...placeInputs, "release"],
  ignore: ["timeout"],
  live: async (_id, state) => {
    const deployment = await deploymentOf(await recordsOf(state), state.release);
    if (deployment === null || deployment.metadata?.uid !== state.deployment) return changed;
    return (state.autoscaler !== undefined ? hasEnough(deployment, state.count) : hasAll(deployment, state.count))
      ? unchanged
      : changed;
  },
  create: async (inputs, context) => {
    await prove(inputs, context);
    return { id: inputs.release, outputs: {} };
  },
  update: async (_id, state, inputs, context) => {
    const { autoscaler } = state;
    if (autoscaler !== undefined && autoscaler !== inputs.autoscaler) await endAutoscaling(inputs, context);
    await prove(inputs, context);
    await trimNodes(inputs, context);
    return {};
  },
  delete: async (_id, state, context) => {
    const records = await recordsOf(state, context);
    if ((await records.record()) === null) return;
    await drainRelease(records, { ...context, release: state.release });
  },
  read: async () => ({}),
};

const hasAll = (deployment: V1Deployment, count: number) =>
  deployment.spec?.replicas === count && isAvailable(deployment);

/** What an autoscaler adds may be on its way, or find no place: that is not for a run that changes something else to wait for. */
function hasEnough({ spec, status }: V1Deployment, startCount: number): boolean {
  const wanted = spec?.replicas ?? 0;
  return wanted > 0 && (status?.readyReplicas ?? 0) >= Math.min(startCount, wanted);
}

/**
 * A declared count would be changed back, and a second autoscaler be at odds with it, by the one that Pulumi removes only after all else
 * is done.
 */
async function endAutoscaling(inputs: Inputs, { assertEngine }: Context): Promise<void> {
  const { cluster, service } = await recordsOf(inputs);
  await assertEngine();
  await removeAutoscaler(cluster, objectNames(service).release(inputs.release));
}

async function prove(inputs: Inputs, context: Context): Promise<void> {
  const { service, release, deployment, autoscaler, timeout } = inputs;
  const { progress, signal, warn, assertEngine } = context;
  const records = await recordsOf(inputs, context);
  const live = autoscaler !== undefined ? ((await deploymentOf(records, release))?.spec?.replicas ?? 0) : 0;
  const count = live > 0 ? live : inputs.count;
  await assertEngine();
  const settings = await begin(records, release, count);
  // A gate that failed took the instances away to free what they hold; its next attempt needs them back.
  await scale(records.cluster, objectNames(service).release(release), count);
  try {
    const wanted = live > 0 ? null : count;
    await untilProven(records, { release, deployment, count: wanted, settings, timeout, progress, signal, warn });
  } catch (error) {
    if (signal.aborted || !(error instanceof UnhealthyError)) throw error;
    await assertEngine();
    throw await fail(records, release, error, context);
  }
  await records.change((record) => {
    const known = record.releases.find(({ id }) => id === release);
    if (known === undefined || !["started", "failed"].includes(known.events.at(-1)?.event ?? "")) return record;
    return withRelease(record, withEvent(known, "proven", new Date().toISOString()));
  });
}

/** Ends nodes of the release's own that are no longer needed, and of them only those that are empty. */
async function trimNodes({ nodes, ...inputs }: Inputs, context: Context): Promise<void> {
  if (nodes === undefined) return;
  const { service, release } = inputs;
  const records = await recordsOf(inputs, context);
  const own = (await records.record())?.releases.find(({ id }) => id === release)?.nodes;
  if (own === undefined) return;
  const staying = (why: string) => context.warn(`nodes that ${release} no longer needs stay: ${why}`);
  try {
    const { cluster } = records;
    const ended = await trim(await nodeGroupOf(own), { ...context, cluster, service, release, nodes });
    if (ended === null) staying("the cluster's nodes may not be listed with these credentials");
  } catch (error) {
    // The instances are proven, and what is left over costs no more than before.
    if (!isForbidden(error)) throw error;
    staying(awsReason(error));
  }
}

/** Notes how many instances are wanted, and says how their pods are made. */
async function begin(records: ServiceRecords, release: string, count: number) {
  const { releases } = await records.change((record) => {
    const known = record.releases.find(({ id }) => id === release);
    if (known === undefined) throw new Error(`the record of service ${records.service} has no release ${release}`);
    const again = known.count === 0 && known.events.at(-1)?.event !== "started";
    const started = again ? withEvent(known, "started", new Date().toISOString()) : known;
    return withRelease(record, { ...started, count, confirmed: true });
  });
  const pod = releases.find(({ id }) => id === release)?.spec.pod;
  if (pod === undefined) throw new Error(`the record of release ${release} does not say how its pods are made`);
  return pod;
}

/** Records the failure, and takes the instances away: what they hold is needed to try again. Those that serve stay. */
async function fail(records: ServiceRecords, release: string, error: UnhealthyError, context: Context): Promise<Error> {
  const detail = error.evidence.map(({ reason }) => reason).join("; ") || error.message;
  try {
    const serving = (await records.target()).release;
    let served = false;
    let nodes: ReleaseNodes | undefined;
    await records.change((record) => {
      const known = record.releases.find(({ id }) => id === release);
      if (known === undefined) return record;
      served = hasServed(known);
      nodes = known.nodes;
      const failed = withEvent(known, "failed", new Date().toISOString(), detail.slice(0, 2_000));
      return withRelease(record, served ? failed : { ...failed, count: 0 });
    });
    if (!served) {
      await scale(records.cluster, objectNames(records.service).release(release), 0);
      await giveBackNodes(nodes, context);
    }
    const consequence =
      serving === null
        ? "the service has no release that serves"
        : serving === release
          ? "what of it is proven goes on serving"
          : `traffic stays on ${serving}`;
    return new Error(`release ${release} is not healthy; ${consequence}\n${error.message}`, { cause: error });
  } catch (second) {
    const left = `its instances, or nodes of its own, could not be taken away and stay: ${(second as Error).message}`;
    return new Error(`release ${release} is not healthy; ${left}\n${error.message}`, { cause: error });
  }
}
