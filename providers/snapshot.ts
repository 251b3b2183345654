import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { type EnvironmentSummary, pack, readHead, SnapshotNotFoundError, scan } from "../runtime/snapshot";
import { readWorkstationRecords } from "../runtime/supervisor";
import { formatSize } from "../runtime/units";
import { environmentSchema, ownerSchema } from "./declarations/common";
import { isToBeFilled } from "./declarations/dev-workstation";
import { modelsSchema, publishSchema } from "./declarations/snapshot";
import { storeAccessSchema, storeLocation, storeSchema, storeSettings } from "./declarations/store";
import type { Checked } from "./parsing";
import { type ResourceDefinition, unchanged } from "./resource";
import { isUnknown } from "./unknown";

const schema = z.object({
  /** See `CommonInputs`. */
  displayUrn: z.string(),
  owner: ownerSchema,
  environment: environmentSchema,
  store: storeSchema,
  /** What a store in S3 needs to be told. */
  access: storeAccessSchema.optional(),
  models: modelsSchema.default("referenced"),
  publish: publishSchema.default("onChange"),
  /** Whose environment it is, and how that is declared in this run. */
  workstation: z
    .object({
      directory: z.string(),
      name: z.string(),
      state: z.enum(["running", "stopped"]),
      /** What a folder without an environment is filled with when it is started. */
      from: z.string().optional(),
      fromStore: storeAccessSchema.optional(),
    })
    .nullish(),
  /** Found by `check`, for a person to read in the preview; `contentId` alone decides whether there is something to publish. */
  contentId: z.string().optional(),
  plugins: z.record(z.string(), z.string()).optional(),
  distributions: z.record(z.string(), z.string()).optional(),
  python: z.string().optional(),
  comfyui: z.string().optional(),
  files: z.number().optional(),
  bytes: z.number().optional(),
});

type Inputs = z.output<typeof schema>;
interface Outputs {
  /** `<store>#sha256:<manifest digest>` */
  readonly reference: string;
}

/** An immutable copy of an environment in a store; another content is another snapshot. */
export const snapshot: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: ["contentId", "store", "models"],
  ignore: ["owner", "publish", "workstation", "plugins", "distributions", "python", "comfyui", "files", "bytes"],
  check: async (inputs, olds, context): Promise<Checked<Inputs>> => {
    const reasonToKeep = reasonNotToScan(inputs);
    if (reasonToKeep !== null) {
      const found = olds === null ? null : summaryIn(olds);
      if (found === null)
        return { inputs, problems: [{ path: reasonToKeep.path, reason: reasonToKeep.withoutSnapshot }] };
      context.warn(`${reasonToKeep.reason}: the earlier snapshot ${shortId(found.id)} is kept`);
      return { inputs: withSummary(inputs, found), problems: [] };
    }
    if (isAwaited(inputs)) return { inputs: await withAwaited(inputs), problems: [] };
    const { summary, remarks } = await scan({ ...scanned(inputs), ...context });
    for (const remark of remarks) context.warn(remark);
    const before = olds === null ? null : summaryIn(olds);
    for (const line of before === null ? [] : describeChanges(before, summary)) context.info(line);
    return { inputs: withSummary(inputs, summary), problems: [] };
  },
  live: async (_id, { reference, access }) => {
    try {
      await readHead(reference, storeSettings(access));
      return unchanged;
    } catch (error) {
      if (!(error instanceof SnapshotNotFoundError)) throw error;
      return { changes: true, replaces: ["store"] };
    }
  },
  create: async (inputs, context) => {
    const { workstation } = inputs;
    const records =
      workstation == null
        ? null
        : (readWorkstationRecords(resolve(workstation.directory)).find(({ name }) => name === workstation.name)
            ?.plugins ?? null);
    const packed = await pack({
      ...scanned(inputs),
      store: storeLocation(inputs.store),
      settings: storeSettings(inputs.access),
      plugins: records ?? [],
      progress: context.progress,
      signal: context.signal,
    });
    const { id } = packed.head.summary;
    if (inputs.contentId !== undefined && id !== inputs.contentId) {
      throw new Error(
        `the environment changed between the preview and the packing: ${shortId(inputs.contentId)} became ${shortId(id)}; save and stop what writes there, then run again`,
      );
    }
    context.info(
      `packed ${shortId(id)}: ${formatSize(packed.bytesAdded)} new, ${formatSize(packed.bytesStored)} stored`,
    );
    return { id: packed.digest, outputs: { reference: packed.reference } };
  },
  update: async (_id, { reference }) => ({ reference }),
  // Removing data is the store's owner's business, never a side effect.
  delete: async () => undefined,
  read: async (_id, { reference, access }) => {
    try {
      await readHead(reference, storeSettings(access));
      return { reference };
    } catch (error) {
      if (error instanceof SnapshotNotFoundError) return null;
      throw error;
    }
  },
};

function scanned({ environment, models }: Inputs) {
  return { environment: { root: resolve(environment.root), layout: environment.layout }, models };
}

/** Why the environment is not looked at in this run, if it is not. */
function reasonNotToScan({ publish, workstation, environment }: Inputs) {
  const root = resolve(environment.root);
  if (publish === "whenStopped" && workstation == null) {
    return {
      path: "publish",
      reason: "there is no workstation that could be stopped",
      withoutSnapshot: '"whenStopped" needs a workstation: pass workstation.environment, or use "onChange"',
    };
  }
  if (publish === "whenStopped" && workstation?.state === "running") {
    return {
      path: "publish",
      reason: `workstation ${workstation.name} is declared running, and this snapshot is published when it is stopped`,
      withoutSnapshot: `there is no snapshot yet, and workstation ${workstation.name} is declared running: declare it with state: "stopped" to publish the first one`,
    };
  }
  if (!existsSync(root) && !isAwaited({ workstation, environment })) {
    return {
      path: "environment.root",
      reason: `the environment ${root} is not on this machine`,
      withoutSnapshot: `${root} does not exist, and there is no earlier snapshot to keep`,
    };
  }
  return null;
}

/** Whether the environment will be there when the workstation has been started: this is the preview of that. */
function isAwaited({ workstation, environment }: Pick<Inputs, "workstation" | "environment">): boolean {
  return workstation?.from != null && isToBeFilled(environment);
}

/** With what the workstation will be filled with, where that is known yet. */
async function withAwaited(inputs: Inputs): Promise<Inputs> {
  const { from, fromStore } = inputs.workstation ?? {};
  if (from === undefined || isUnknown(from)) return inputs;
  return withSummary(inputs, (await readHead(from, storeSettings(fromStore))).summary);
}

function withSummary(inputs: Inputs, { id, ...summary }: EnvironmentSummary): Inputs {
  return { ...inputs, ...summary, contentId: id };
}

function summaryIn(inputs: Inputs): EnvironmentSummary | null {
  const { contentId, plugins, distributions, python = "", comfyui = "", files = 0, bytes = 0 } = inputs;
  if (contentId === undefined || plugins === undefined || distributions === undefined) return null;
  return { id: contentId, plugins, distributions, python, comfyui, files, bytes };
}

const shortId = (id: string) => id.slice(0, 12);

/** What is different between two environments, in the words of a person: plugins and distributions by name and version. */
function describeChanges(before: EnvironmentSummary, after: EnvironmentSummary): readonly string[] {
  if (before.id === after.id) return [];
  const lines = [
    ...mapChanges("plugin", before.plugins, after.plugins),
    ...mapChanges("distribution", before.distributions, after.distributions),
    ...(before.python === after.python ? [] : [`Python ${before.python} → ${after.python}`]),
    ...(before.comfyui === after.comfyui ? [] : [`ComfyUI ${before.comfyui} → ${after.comfyui}`]),
  ];
  const ids = `${shortId(before.id)} → ${shortId(after.id)}`;
  if (lines.length === 0)
    return [`other files of the environment changed, ${ids} (pulumi-comfyui scan --explain names them)`];
  return [`the environment changed, ${ids}: ${lines.join("; ")}`];
}

function mapChanges(
  what: string,
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): readonly string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].sort().flatMap((name) => {
    const [old, now] = [before[name], after[name]];
    if (old === now) return [];
    if (old === undefined) return [`+ ${what} ${name} ${now}`];
    if (now === undefined) return [`- ${what} ${name} ${old}`];
    return [`~ ${what} ${name} ${old} → ${now}`];
  });
}
