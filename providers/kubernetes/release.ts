import { createHmac } from "node:crypto";
import { z } from "zod";
import {
  isOver,
  type PodSettings,
  type RecordedRelease,
  type ReleaseSpec,
  recordRelease,
  sameOwner,
  specHash,
  withRelease,
} from "../../runtime/deployment";
import {
  ConflictError,
  deploymentOf,
  lookAtNodePool,
  nodesOfRelease,
  ownedByAnother,
  placedPod,
  provideProgram,
  recordRemoval,
  releaseLabel,
  type ServiceRecords,
} from "../../runtime/kubernetes";
import { modelsFolder, nodeCacheFolder, ports } from "../../runtime/kubernetes/pod-places";
import { argumentsSchema, environmentVariablesSchema, ownerSchema } from "../declarations/common";
import { healthSchema, workflowSchema } from "../declarations/online-service";
import { releasePlacementSchema } from "../declarations/placement";
import { bytesOf, podSchema, podSettings } from "../declarations/pod";
import { type ScalingDeclaration, scalingSchema } from "../declarations/scaling";
import { storeAccessSchema, storeSettings } from "../declarations/store";
import { checkRelease } from "../release-check";
import { type ResourceDefinition, unchanged } from "../resource";
import { isUnknown } from "../unknown";
import { clusterServiceShape, placeInputs, recordsOf } from "./cluster";

const schema = z.object({
  ...clusterServiceShape,
  owner: ownerSchema,
  snapshot: z.string(),
  store: storeAccessSchema.optional(),
  arguments: argumentsSchema.default([]),
  environmentVariables: environmentVariablesSchema.default({}),
  health: healthSchema.omit({ timeout: true }).extend({ smoke: z.union([z.string(), workflowSchema]).optional() }),
  /** The platform's pod, and what the service says otherwise. */
  pod: podSchema,
  servicePod: podSchema.default({}),
  /** On which nodes its pods run; absent: on any that take them. */
  placement: releasePlacementSchema.optional(),
  /** With how many instances it starts. Its change alone changes no release. */
  scaling: scalingSchema,
});

type Inputs = z.output<typeof schema>;

/** All that pods of the release are made of: a release that serves is not changed by what is declared for the next one. */
interface Outputs {
  readonly revision: number;
  readonly settings: PodSettings;
  /** `instance.json`, without what the component adds. */
  readonly instance: string;
  readonly programs: string;
  /** Seconds that a pod gets to finish its work. */
  readonly grace: number;
  /** With how many instances it starts: where an autoscaler owns the number, as many as the one has that it replaces. */
  readonly startCount: number;
}

/** Seconds beyond the drain's deadline until the kubelet kills: the agent lets go first. */
const graceMargin = 60;

/** What instances start with. A change of any of it is a new release: the old one is replaced, create before delete. */
export const clusterRelease: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: [
    ...placeInputs,
    ...(["owner", "snapshot", "store", "arguments", "environmentVariables", "health", "pod", "servicePod"] as const),
    "placement",
  ],
  ignore: ["scaling"],
  check: async (inputs, _olds, { warn }) => {
    if (!isUnknown(inputs.placement)) await warnOfHiddenNodePool(inputs, warn);
    return checkRelease(inputs, { here: false });
  },
  live: async (id, state) => {
    const records = await recordsOf(state);
    const [record, target] = await Promise.all([records.record(), records.target()]);
    const own = record?.releases.find((known) => known.id === id);
    const usable = own !== undefined && !isOver(own) && target.revision <= own.revision;
    return usable ? unchanged : { changes: true, replaces: ["service"] };
  },
  create: async (inputs, context) => {
    const { assertEngine } = context;
    const records = await recordsOf(inputs, context);
    const { owner } = inputs;
    const spec = specOf(inputs);
    // Keyed: environment variables may be secrets, and short ones could be guessed from a plain hash.
    const hash = createHmac("sha256", await records.deployerToken())
      .update(specHash(spec))
      .digest("hex");
    await assertEngine();
    let id = "";
    let revision = 0;
    const { settings } = await records.change((record) => {
      if (!sameOwner(record.claim.owner, owner)) {
        throw new ConflictError(ownedByAnother(inputs.service, record.claim, owner));
      }
      const { service, release } = recordRelease(record, owner, withoutSecrets(spec), new Date().toISOString(), hash);
      ({ id, revision } = release);
      return withRelease(service, placedRelease(release, inputs));
    });
    const programs = await provideProgram(records, owner);
    const startCount = await startCountOf(records, inputs.scaling);
    const grace = Math.ceil(settings.drain.deadline / 1000) + graceMargin;
    const instance = JSON.stringify(instanceOf(inputs.service, id, settings.drain.deadline, spec));
    return {
      id,
      outputs: {
        revision,
        settings: placedPod(podSettings(inputs.pod, inputs.servicePod), inputs.placement, inputs.service, id),
        instance,
        programs,
        grace,
        startCount,
      },
    };
  },
  update: async (_id, { revision, settings, instance, programs, grace, startCount }) => ({
    revision,
    settings,
    instance,
    programs,
    grace,
    startCount,
  }),
  delete: async (id, state, context) => {
    const records = await recordsOf(state, context);
    if ((await records.record()) === null) return;
    if ((await records.target()).release === id) {
      throw new Error(`the release ${id} still gets the traffic of service ${state.service}`);
    }
    await recordRemoval(records, id);
  },
  read: async (id, state) => {
    const known = (await (await recordsOf(state)).record())?.releases.find((release) => release.id === id);
    if (known === undefined || isOver(known)) return null;
    const { settings, instance, programs, grace, startCount } = state;
    return { revision: known.revision, settings, instance, programs, grace, startCount };
  },
};

/** Preview refuses a pool that does not fit; where it may not be looked at, that shows only while pods wait for nodes. */
async function warnOfHiddenNodePool(inputs: Inputs, warn: (message: string) => void): Promise<void> {
  const { placement } = inputs;
  if (placement?.kind !== "karpenter") return;
  const { cluster } = await recordsOf(inputs);
  const look = await lookAtNodePool(cluster, placement.nodePool);
  if (look.kind === "hidden")
    warn(`${look.reason}: it has to have the requirement { key: ${releaseLabel}, operator: Exists }`);
}

/** As many as users have now, within the bounds: a release that replaces a scaled one must not begin with fewer. */
async function startCountOf(records: ServiceRecords, scaling: ScalingDeclaration): Promise<number> {
  if (scaling.kind === "fixed") return scaling.count;
  const { release } = await records.target();
  const serving = release === null ? null : await deploymentOf(records, release);
  return Math.min(scaling.max, Math.max(scaling.min, serving?.spec?.replicas ?? 0));
}

/** With what its id decides: the nodes that its pods ask for, and those that are its own. */
function placedRelease(release: RecordedRelease, { placement, service }: Inputs): RecordedRelease {
  const { id, spec } = release;
  const nodes = nodesOfRelease(placement, service, id);
  if (placement === undefined || spec.pod === undefined) return release;
  return {
    ...release,
    spec: { ...spec, pod: placedPod(spec.pod, placement, service, id) },
    ...(nodes === undefined ? {} : { nodes }),
  };
}

function specOf(inputs: Inputs): ReleaseSpec {
  const { startTimeout, stableFor, smoke, smokeTimeout, acceptFailing } = inputs.health;
  return {
    snapshot: inputs.snapshot,
    ...(inputs.store === undefined ? {} : { store: storeSettings(inputs.store) }),
    pod: podSettings(inputs.pod, inputs.servicePod),
    ...(inputs.placement === undefined ? {} : { placement: inputs.placement }),
    models: null,
    arguments: inputs.arguments,
    environmentVariables: inputs.environmentVariables,
    health: { startTimeout, stableFor, smoke: typeof smoke === "object" ? smoke : null, smokeTimeout, acceptFailing },
  };
}

/** The record may be read by who may not read Secrets: of environment variables it has the names. */
function withoutSecrets(spec: ReleaseSpec): ReleaseSpec {
  const names = Object.keys(spec.environmentVariables).map((name) => [name, ""] as const);
  return { ...spec, environmentVariables: Object.fromEntries(names) };
}

/** `instance.json`: what the agent is told. Environment variables are in a Secret, which only ComfyUI's container gets. */
function instanceOf(service: string, release: string, drainDeadline: number, spec: ReleaseSpec): object {
  const { snapshot, store, pod, arguments: args, health } = spec;
  const models = pod?.models == null ? null : modelsFolder;
  const storage = pod === undefined ? {} : { storage: bytesOf(pod.storage) };
  const nodeCache = pod?.nodeCache == null ? {} : { nodeCache: { folder: nodeCacheFolder, keep: pod.nodeCache.keep } };
  return {
    ...{ service, release, snapshot, store: store ?? {}, models, ...storage, ...nodeCache },
    ...{ arguments: args, health, drainDeadline, ports: { comfyui: ports.comfyui, agent: ports.agent } },
  };
}
