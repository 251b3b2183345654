import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import { claimUse, clusterName, reachCluster, settingProblems } from "../../runtime/kubernetes";
import type { Problem } from "../../runtime/problems";
import { isS3Location } from "../../runtime/store";
import { durationSchema } from "../../runtime/units";
import { isUnknown } from "../unknown";
import {
  claimSchema,
  type Declaration,
  environmentSchema,
  folderProblems,
  madeAccounts,
  platformSchema,
  type Surroundings,
} from "./common";
import { environmentProblems } from "./dev-workstation";
import { kubernetesSchema } from "./kubernetes";
import { podSettings, quantitySchema } from "./pod";
import { storeAccessSchema, storeSchema } from "./store";

export const modelsSchema = z.enum(
  ["referenced", "locked", "included"],
  'is none of "referenced", "locked", "included"',
);
export const publishSchema = z.enum(["onChange", "whenStopped"], 'is neither "onChange" nor "whenStopped"');

/** How the Job is made that packs in a cluster. */
export const packingSchema = z.strictObject({
  timeout: durationSchema.prefault("6h"),
  resources: z
    .strictObject({
      requests: z.record(z.string(), quantitySchema).default({ cpu: "1", memory: "1Gi" }),
      limits: z.record(z.string(), quantitySchema).default({ memory: "4Gi" }),
    })
    .prefault({}),
});

export const snapshotSchema = z.strictObject({
  environment: z.discriminatedUnion("kind", [
    claimSchema,
    environmentSchema.extend({ kind: z.undefined().optional() }),
  ]),
  platform: platformSchema.optional(),
  store: storeSchema,
  access: storeAccessSchema.optional(),
  models: modelsSchema.default("referenced"),
  publish: publishSchema.default("onChange"),
  packing: packingSchema.optional(),
  /** The workstation whose environment it is; its own declaration speaks for the environment and the platform. */
  workstation: z.string().nullable().default(null),
});

export async function lookAtSnapshot(
  declaration: Declaration,
  surroundings: Surroundings,
): Promise<readonly Problem[]> {
  const given = declaration.arguments as Given;
  return [
    ...(storeSchema.safeParse(given.store).success && !isS3Location(given.store) && isFolder(given.environment)
      ? folderProblems("store", given.store)
      : []),
    // Without the environment an earlier snapshot is kept, which only the resource itself knows of.
    ...(typeof given.workstation !== "string" &&
    isFolder(given.environment) &&
    existsSync(resolve(given.environment.root))
      ? await environmentProblems(given.environment)
      : []),
    ...placeProblems(given),
    ...(await claimProblems(given, madeAccounts(declaration, surroundings))),
  ];
}

type Given = z.input<typeof snapshotSchema>;

function isFolder(environment: unknown): environment is { readonly root: string } {
  return typeof (environment as { readonly root?: unknown } | null)?.root === "string";
}

/** What does not go together with where the environment is; arguments that are wrong by themselves are the schema's to find. */
function placeProblems({ environment, platform, store, models, packing, workstation }: Given): readonly Problem[] {
  const problems: Problem[] = [];
  const problem = (path: string, reason: string) => problems.push({ path, reason });
  if (environment?.kind !== "claim") {
    if (platform !== undefined) problem("platform", "is for a claim: a folder of this machine is packed here");
    if (packing !== undefined) problem("packing", "is for a claim: a folder of this machine is packed here");
    return problems;
  }
  if (typeof store === "string" && !store.includes("://")) {
    const reason = "is a folder of this machine, which a pod does not reach: use s3://bucket/prefix";
    problem("store", `${JSON.stringify(store)} ${reason}`);
  }
  if (models === "locked" || models === "included") {
    const reason = "cannot be had of a claim, of whose models its agent tells path and size only: leave it out";
    problem("models", `${JSON.stringify(models)} ${reason}`);
  }
  if (typeof workstation === "string") return problems;
  if (environment.name === undefined) {
    problem("environment.name", "names no claim that is there: use claim({ name }), or a workstation's environment");
  }
  if (platform?.kind !== "kubernetes") problem("platform", "does not say where the claim is: use kubernetes({ … })");
  return problems;
}

/** A claim that is named by itself: what of its platform is not there. */
async function claimProblems(
  { environment, platform, workstation }: Given,
  accounts: ReadonlySet<unknown>,
): Promise<readonly Problem[]> {
  const declared = z
    .object({ platform: kubernetesSchema, environment: claimSchema })
    .safeParse({ platform, environment });
  if (typeof workstation === "string" || !declared.success || isUnknown(declared.data.platform.kubeconfig)) return [];
  const { name } = declared.data.environment;
  const { cluster, problems } = await reachCluster(declared.data.platform);
  if (cluster === null || problems.length > 0 || name === undefined) return problems;
  const pod = podSettings({ image: "none", ...declared.data.platform.pod }, {});
  const serviceAccount = accounts.has(pod.serviceAccount) ? null : pod.serviceAccount;
  const looked = { ...pod, gpu: { ...pod.gpu, count: 0 }, nodeCache: null, serviceAccount };
  const missing = await settingProblems(cluster, looked, {});
  if (missing.length > 0) return missing;
  if ((await claimUse(cluster, name)) !== null) return [];
  const reason = `the namespace ${cluster.namespace} of ${clusterName(cluster)} has no claim ${JSON.stringify(name)}`;
  return [{ path: "environment.name", reason }];
}
