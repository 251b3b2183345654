import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { describeUnexpected, pack, readHead, scan, shortId, UnexpectedContentError } from "../runtime/snapshot";
import { readWorkstationRecords } from "../runtime/supervisor";
import { formatSize } from "../runtime/units";
import { environmentSchema, ownerSchema } from "./declarations/common";
import { isToBeFilled } from "./declarations/dev-workstation";
import { modelsSchema, publishSchema } from "./declarations/snapshot";
import { storeAccessSchema, storeLocation, storeSchema, storeSettings } from "./declarations/store";
import type { Checked } from "./parsing";
import type { ResourceDefinition } from "./resource";
import {
  contentShape,
  liveSnapshot,
  readSnapshot,
  type SnapshotOutputs,
  shownInputs,
  summaryIn,
  tellChanges,
  withSummary,
} from "./snapshot-content";
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
  ...contentShape,
});

type Inputs = z.output<typeof schema>;

/** An immutable copy of an environment in a store; another content is another snapshot. */
export const snapshot: ResourceDefinition<Inputs, SnapshotOutputs> = {
  schema,
  replaceOn: ["contentId", "store", "models"],
  ignore: ["owner", "publish", "workstation", ...shownInputs],
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
    for (const line of before === null ? [] : tellChanges(before, summary)) context.info(line);
    return { inputs: withSummary(inputs, summary), problems: [] };
  },
  live: (_id, state) => liveSnapshot(state),
  create: async (inputs, context) => {
    const { workstation } = inputs;
    const records =
      workstation == null
        ? null
        : (readWorkstationRecords(resolve(workstation.directory)).find(({ name }) => name === workstation.name)
            ?.plugins ?? null);
    const promised = summaryIn(inputs);
    const packed = await pack({
      ...scanned(inputs),
      store: storeLocation(inputs.store),
      settings: storeSettings(inputs.access),
      plugins: records ?? [],
      ...(promised === null ? {} : { expectedId: promised.id }),
      progress: context.progress,
      signal: context.signal,
    }).catch((error: unknown) => {
      if (promised === null || !(error instanceof UnexpectedContentError)) throw error;
      throw new Error(describeUnexpected(promised, error.found), { cause: error });
    });
    const { id } = packed.head.summary;
    context.info(
      `packed ${shortId(id)}: ${formatSize(packed.bytesAdded)} new, ${formatSize(packed.bytesStored)} stored`,
    );
    return { id: packed.digest, outputs: { reference: packed.reference } };
  },
  update: async (_id, { reference }) => ({ reference }),
  // Removing data is the store's owner's business, never a side effect.
  delete: async () => undefined,
  read: (_id, state) => readSnapshot(state),
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
