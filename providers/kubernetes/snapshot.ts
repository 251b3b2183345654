import { z } from "zod";
import type { PackSpec } from "../../runtime/agent";
import type { WorkstationFingerprint } from "../../runtime/deployment";
import {
  type Cluster,
  claimUse,
  inUseText,
  type Packed,
  type PackerSettings,
  packInCluster,
  settledClaimContent,
  soleHolder,
  workstationOf,
} from "../../runtime/kubernetes";
import { type EnvironmentSummary, readHead, shortId, verify } from "../../runtime/snapshot";
import { formatSize } from "../../runtime/units";
import type { Context } from "../context";
import { layoutSchema, ownerSchema } from "../declarations/common";
import { objectNameSchema } from "../declarations/pod";
import { modelsSchema, packingSchema, publishSchema } from "../declarations/snapshot";
import { storeAccessSchema, storeSchema, storeSettings } from "../declarations/store";
import type { Checked } from "../parsing";
import type { ResourceDefinition } from "../resource";
import {
  contentShape,
  liveSnapshot,
  readSnapshot,
  type SnapshotOutputs,
  shownInputs,
  summaryIn,
  tellChanges,
  withSummary,
} from "../snapshot-content";
import { isUnknown } from "../unknown";
import { clusterOf, clusterShape } from "./cluster";

/** Where the environment is mounted, in the workstation's pod as in the Job's. */
const environmentFolder = "/comfyui/environment";
/** Milliseconds that a look which is under way gets, while a preview waits. */
const lookDeadline = 60_000;
/** Milliseconds that a workstation which was just started gets to look at its claim for the first time. */
const firstLookDeadline = 30 * 60_000;

const schema = z.object({
  ...clusterShape,
  owner: ownerSchema,
  claim: objectNameSchema,
  layout: layoutSchema.prefault({}),
  store: storeSchema,
  /** What a store in S3 needs to be told. */
  access: storeAccessSchema.optional(),
  models: modelsSchema.default("referenced"),
  publish: publishSchema.default("onChange"),
  /** Whose environment it is, and how that is declared in this run. Without, it is found by the claim. */
  workstation: z.object({ name: z.string(), state: z.enum(["running", "stopped"]) }).nullish(),
  /** What the Job's pod has of the workstation's. What is null may be left out on its way through the state. */
  pod: z.custom<Partial<PackerSettings>>(),
  packing: packingSchema.prefault({}),
  ...contentShape,
});

type Inputs = z.output<typeof schema>;
/** What it is of is an output where `check` could not say it: the workstation was only started in the same run. */
type Outputs = SnapshotOutputs & Partial<ReturnType<typeof withSummary>>;

/** An immutable copy of an environment on a claim, packed beside it; another content is another snapshot. */
export const clusterSnapshot: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: ["contentId", "store", "models"],
  ignore: ["owner", "publish", "workstation", "pod", "packing", ...shownInputs],
  check: async (inputs, olds, context): Promise<Checked<Inputs>> => {
    const before = olds === null ? null : summaryIn(olds);
    if (isUnknown(inputs.kubeconfig)) {
      context.info("its cluster is not known yet: what is packed is known once it is");
      return { inputs: before === null ? inputs : withSummary(inputs, before), problems: [] };
    }
    const found = await look(inputs, context);
    if (found.kind === "known") {
      const { summary, remarks } = found.fingerprint;
      const held = before?.id === summary.id ? null : await heldAlone(inputs);
      if (held === null) {
        for (const remark of remarks) context.warn(remark);
        for (const line of before === null ? [] : tellChanges(before, summary)) context.info(line);
        return { inputs: withSummary(inputs, summary), problems: [] };
      }
      return keep(inputs, before, { path: "environment", reason: held, remedy: "" }, context);
    }
    if (found.kind === "later" && olds === null) {
      context.info(`${found.reason}: what is packed is known once it has started`);
      return { inputs, problems: [] };
    }
    return keep(inputs, before, found, context);
  },
  live: (_id, state) => liveSnapshot(state),
  create: async (inputs, context) => {
    const cluster = await clusterOf(inputs);
    const { workstation, fingerprint } = await source(cluster, inputs, context);
    const promised = summaryIn(inputs) ?? fingerprint?.summary;
    if (promised === undefined) throw new Error(`nobody can say what claim ${inputs.claim} holds; run pulumi up again`);
    const packed = await packInCluster(
      cluster,
      {
        workstation,
        owner: inputs.owner,
        snapshot: inputs.displayUrn,
        contentId: promised.id,
        claim: inputs.claim,
        pod: completePod(inputs.pod),
        resources: inputs.packing.resources,
        spec: JSON.stringify(specOf(inputs, promised, fingerprint)),
        timeout: inputs.packing.timeout,
      },
      context,
    );
    context.progress("looking at the store from here");
    const digest = await lookFromHere(inputs, packed, promised);
    context.info(
      `packed ${shortId(promised.id)}: ${formatSize(packed.bytesAdded)} new, ${formatSize(packed.bytesStored)} stored`,
    );
    const { reference } = packed;
    return {
      id: digest,
      outputs: inputs.contentId === undefined ? withSummary({ reference }, promised) : { reference },
    };
  },
  update: async (_id, { reference }) => ({ reference }),
  // Removing data is the store's owner's business, never a side effect.
  delete: async () => undefined,
  read: (_id, state) => readSnapshot(state),
};

interface NotKnown {
  readonly path: string;
  readonly reason: string;
  /** What a person has to do where there is no earlier snapshot to keep. */
  readonly remedy: string;
}

type Found =
  | { readonly kind: "known"; readonly fingerprint: WorkstationFingerprint }
  /** `later`: the workstation is started in this run. */
  | ({ readonly kind: "later" | "unknown" } & NotKnown);

/** What the claim holds, as far as it is to be packed in this run. Starts nothing. */
async function look(inputs: Inputs, context: Context): Promise<Found> {
  const { publish, workstation: declared, claim, layout } = inputs;
  const unknown = (path: string, reason: string, remedy: string): Found => ({ kind: "unknown", path, reason, remedy });
  if (publish === "whenStopped") {
    if (declared == null) {
      const reason = "no workstation is declared here that could be stopped";
      return unknown("publish", reason, '"whenStopped" needs one: pass workstation.environment, or use "onChange"');
    }
    if (declared.state === "running") {
      const reason = `workstation ${declared.name} is declared running, and this snapshot is published when it is stopped`;
      return unknown("publish", reason, 'declare it with state: "stopped" to publish the first one');
    }
  }
  const cluster = await clusterOf(inputs);
  const name = declared?.name ?? (await workstationOf(cluster, claim));
  if (name === null) {
    const reason = `no workstation in the namespace ${inputs.namespace} works in claim ${claim}, so that nobody says what it holds`;
    return unknown(
      "environment",
      reason,
      "declare a DevWorkstation with environment: claim({ name }), and start it once",
    );
  }
  const { progress, signal } = context;
  const wait = { progress, signal, deadline: lookDeadline, isWorthWaiting: (soon: boolean) => soon };
  const content = await settledClaimContent(cluster, name, layout, wait);
  if (content.known) return { kind: "known", fingerprint: content.fingerprint };
  return {
    kind: declared?.state === "running" ? "later" : "unknown",
    path: "environment",
    reason: content.reason,
    remedy: `have the workstation running (state: "running") until it has looked at its claim, then publish`,
  };
}

/** With the earlier snapshot where there is one, and a problem where there is none. */
function keep(
  inputs: Inputs,
  before: EnvironmentSummary | null,
  { path, reason, remedy }: NotKnown,
  context: Context,
): Checked<Inputs> {
  if (before !== null) {
    context.warn(`${reason}: the earlier snapshot ${shortId(before.id)} is kept`);
    return { inputs: withSummary(inputs, before), problems: [] };
  }
  const todo = remedy === "" ? "" : `; ${remedy}`;
  return { inputs, problems: [{ path, reason: `there is no snapshot yet, and ${reason}${todo}` }] };
}

/** Why nobody but the workstation can read the claim, where it is declared running; null where others can. */
async function heldAlone({ workstation, claim, ...inputs }: Inputs): Promise<string | null> {
  if (workstation?.state === "stopped") return null;
  const use = await claimUse(await clusterOf(inputs), claim);
  const holder = use === null ? null : soleHolder(use);
  return holder === null ? null : inUseText(claim, holder);
}

/** The workstation whose claim it is, and what its agent says now; waited for where the check could not wait. */
async function source(cluster: Cluster, { workstation: declared, claim, layout, contentId }: Inputs, context: Context) {
  const name = declared?.name ?? (await workstationOf(cluster, claim));
  if (name === null) throw new Error(`no workstation in the namespace ${cluster.namespace} works in claim ${claim}`);
  const { progress, signal } = context;
  const wait = { progress, signal, deadline: firstLookDeadline, isWorthWaiting: () => contentId === undefined };
  const content = await settledClaimContent(cluster, name, layout, wait);
  if (!content.known && contentId === undefined) throw new Error(content.reason);
  return { workstation: name, fingerprint: content.known ? content.fingerprint : null };
}

function specOf(
  { layout, models, store, access }: Inputs,
  promised: EnvironmentSummary,
  fingerprint: WorkstationFingerprint | null,
): PackSpec {
  return {
    environment: { root: environmentFolder, layout },
    models,
    store,
    settings: storeSettings(access),
    // Records of other content say nothing of this one; the agent sorts them out.
    plugins: fingerprint?.plugins ?? [],
    promised,
  };
}

function completePod({ models, serviceAccount, storeCredentials, priorityClass, ...pod }: Partial<PackerSettings>) {
  const { agentImage, user = 1000, nodeSelector = {}, tolerations = [], imagePullSecrets = [] } = pod;
  if (agentImage === undefined) throw new Error("the inputs do not say which image packs");
  return {
    ...{ agentImage, user, nodeSelector, tolerations, imagePullSecrets },
    models: models ?? null,
    serviceAccount: serviceAccount ?? null,
    storeCredentials: storeCredentials ?? null,
    priorityClass: priorityClass ?? null,
  };
}

/** The Job's word is not enough: instances read the store from elsewhere as well. Returns the digest. */
async function lookFromHere(
  { store, access, claim }: Inputs,
  { reference }: Packed,
  promised: EnvironmentSummary,
): Promise<string> {
  const settings = storeSettings(access);
  const [location, digest = ""] = reference.split("#sha256:");
  try {
    if (location !== store.replace(/\/+$/, "")) throw new Error("it is another store's");
    const { summary } = await readHead(reference, settings);
    if (summary.id !== promised.id) throw new Error(`it is ${shortId(summary.id)}, and not ${shortId(promised.id)}`);
    const { problems } = await verify({ reference, settings, deep: false });
    if (problems.length > 0) throw new Error(problems.slice(0, 5).join("; "));
    return digest;
  } catch (error) {
    const message = `claim ${claim} was packed to ${reference} in the cluster, but it is not whole as this machine sees it: ${(error as Error).message}`;
    throw new Error(message, { cause: error });
  }
}
