import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { ownerName as describeOwner, type Owner, sameOwner } from "../../runtime/deployment";
import type { Layout } from "../../runtime/environment";
import { defaultLayout } from "../../runtime/environment";
import type { Cluster } from "../../runtime/kubernetes";
import type { Problem } from "../../runtime/problems";
import { isPortFree } from "../../runtime/supervisor";
import { isUnknown } from "../unknown";
import { clusterNameProblems, clusterPlaceSchema, kubernetesSchema, lookAtCluster } from "./kubernetes";
import { objectNameSchema, quantitySchema } from "./pod";

export { describeOwner, sameOwner };

/** A component as a program declares it: its plain arguments, what is not plain marked as known later. */
export interface Declaration {
  readonly kind: "OnlineService" | "DevWorkstation" | "Snapshot" | "SnapshotAccess";
  readonly name: string;
  readonly arguments: unknown;
}

/** What a declaration is judged against. */
export interface Surroundings {
  readonly owner: Owner;
  /** Everything that the program declares, this one included. */
  readonly declarations: readonly Declaration[];
  /** What stands in no declaration, of the component whose resource asks. */
  readonly secrets?: {
    readonly kind: Declaration["kind"];
    readonly name: string;
    readonly kubeconfig: string;
  };
}

export const ownerSchema = z.strictObject({ organization: z.string(), project: z.string(), stack: z.string() });

const localSchema = z.strictObject({
  kind: z.literal("local"),
  directory: z.string().min(1, "is empty: name a folder"),
});

export const platformSchema = z.discriminatedUnion("kind", [localSchema, kubernetesSchema], {
  error: 'is no known platform: use local({ directory: "…" }) or kubernetes({ namespace: "…" })',
});

/** What of a platform tells where it is: what is wrong with its pods hides nothing of that. */
const placeSchema = z.discriminatedUnion("kind", [localSchema, clusterPlaceSchema]);

export const portSchema = z.int().min(1, "is no port: use 1 to 65535").max(65535, "is no port: use 1 to 65535");

/** ComfyUI's options that the platform sets. Given twice, the last one wins, and the instance would not be found. */
const ownArguments = new Set([
  ...["--listen", "--port", "--base-directory", "--input-directory", "--output-directory", "--temp-directory"],
  ...["--user-directory", "--database-url", "--log-stdout", "--tls-keyfile", "--tls-certfile"],
]);

export const argumentsSchema = z.array(
  z.string().refine((argument) => !ownArguments.has(argument.split("=")[0] ?? ""), {
    error: ({ input }) => `${JSON.stringify(input)} is set by the platform and cannot be an argument`,
  }),
);

export const environmentVariablesSchema = z.record(
  z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "is no name of an environment variable"),
  z.string(),
);

const insideRoot = z
  .string()
  .min(1, "is empty: name a path below the environment's root")
  .refine((path) => !path.startsWith("/") && !path.split("/").includes(".."), {
    error: ({ input }) =>
      `${JSON.stringify(input)} is outside the environment's root: use a path relative to it, without ".."`,
  });

export const layoutSchema = z.strictObject({
  comfyui: insideRoot.default(defaultLayout.comfyui),
  plugins: insideRoot
    .refine((path) => /(^|\/)custom_nodes\/?$/.test(path), {
      error: ({ input }) =>
        `${JSON.stringify(input)} does not end in "custom_nodes", the name by which ComfyUI looks for plugins`,
    })
    .default(defaultLayout.plugins),
  dependencies: insideRoot.default(defaultLayout.dependencies),
  cache: insideRoot.default(defaultLayout.cache),
  models: insideRoot.default(defaultLayout.models),
}) satisfies z.ZodType<Layout>;

export const environmentSchema = z.strictObject({
  root: z.string().min(1, "is empty: name the environment's folder"),
  layout: layoutSchema.prefault({}),
});

/** An environment on a claim: one to be made, or one that is there. */
export const claimSchema = z
  .strictObject({
    kind: z.literal("claim"),
    name: objectNameSchema.optional(),
    size: quantitySchema.optional(),
    storageClass: objectNameSchema.optional(),
    accessMode: z
      .enum(
        ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"],
        'is none of "ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"',
      )
      .optional(),
    layout: layoutSchema.prefault({}),
  })
  .superRefine(({ name, size, storageClass, accessMode }, context) => {
    if (name === undefined && size === undefined) {
      context.addIssue(
        "names neither a claim that is there nor the size of one to make: use claim({ name }) or claim({ size })",
      );
    }
    for (const [key, value] of Object.entries({ size, storageClass, accessMode })) {
      if (name === undefined || value === undefined) continue;
      const message = `is of a claim to be made, and ${JSON.stringify(name)} is one that is there: leave one of them out`;
      context.addIssue({ code: "custom", message, path: [key] });
    }
  });

/** A name becomes a folder, part of URLs' paths and of ids. */
function nameProblems(name: string): readonly Problem[] {
  if (/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/i.test(name)) return [];
  const reason = `${JSON.stringify(name)} cannot name it on a platform: use up to 40 letters, digits and inner hyphens`;
  return [{ path: "name", reason }];
}

/** Whether a folder, or where it is missing the nearest that there is, can be written to. */
export function folderProblems(path: string, folder: string): readonly Problem[] {
  const absolute = resolve(folder);
  let nearest = absolute;
  while (!existsSync(nearest)) nearest = dirname(nearest);
  if (!statSync(nearest).isDirectory()) return [{ path, reason: `${nearest} is a file, where a folder is needed` }];
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
    return [];
  } catch {
    return [{ path, reason: `${nearest} cannot be written to by this user` }];
  }
}

/** Other declarations of the same kind and name on the same platform. */
function duplicateProblems(
  { kind, name }: Declaration,
  place: { readonly id: string; readonly shown: string },
  { declarations }: Surroundings,
): readonly Problem[] {
  const alike = declarations.filter(
    (other) => other.kind === kind && other.name === name && placeOf(other)?.id === place.id,
  );
  if (alike.length < 2) return [];
  return [
    {
      path: "name",
      reason: `${alike.length} components ${kind} ${JSON.stringify(name)} share the platform ${place.shown}: names on one platform differ`,
    },
  ];
}

/** Where a declaration wants to be, and what is wrong with it before anybody's rights are looked at. */
export async function lookAtPlatform<Recorded extends { readonly name: string }>(
  declaration: Declaration,
  surroundings: Surroundings,
  readRecords: (directory: string) => readonly Recorded[],
): Promise<{
  /** What a local platform's folder records under the declaration's name. */
  readonly record: Recorded | undefined;
  /** The cluster of a Kubernetes platform, when it can be reached. */
  readonly cluster: Cluster | null;
  readonly problems: readonly Problem[];
}> {
  const place = placeOf(declaration);
  if (place === null) {
    const { kind } = Object((declaration.arguments as { readonly platform?: unknown }).platform);
    const problems = kind === "kubernetes" ? clusterNameProblems(declaration.name) : nameProblems(declaration.name);
    return { record: undefined, cluster: null, problems };
  }
  const { platform, id } = place;
  const duplicates = duplicateProblems(declaration, place, surroundings);
  if (platform.kind === "kubernetes") {
    const own = (declaration.arguments as { readonly pod?: unknown }).pod ?? {};
    const { secrets } = surroundings;
    const isAsking = secrets?.kind === declaration.kind && secrets.name === declaration.name;
    const content = isAsking ? secrets.kubeconfig : undefined;
    const instances = declaration.kind === "OnlineService";
    const accounts = madeAccounts(declaration, surroundings);
    const { cluster, problems } = await lookAtCluster(platform, own, { content, instances, accounts });
    return {
      record: undefined,
      cluster,
      problems: [...clusterNameProblems(declaration.name), ...problems, ...duplicates],
    };
  }
  return {
    record: readRecords(id).find(({ name }) => name === declaration.name),
    cluster: null,
    problems: [...nameProblems(declaration.name), ...folderProblems("platform.directory", id), ...duplicates],
  };
}

/** A port that is taken, unless what is declared holds it itself. */
export async function portProblems(
  path: string,
  declared: unknown,
  held: number | undefined,
): Promise<readonly Problem[]> {
  const port = portSchema.safeParse(declared);
  if (!port.success || port.data === held || (await isPortFree(port.data))) return [];
  return [{ path, reason: `${port.data} is taken by another program on this machine` }];
}

/** Service accounts that the program makes where a declaration's pods are to be: before its first `up` none of them is there. */
export function madeAccounts(declaration: Declaration, { declarations }: Surroundings): ReadonlySet<unknown> {
  const place = placeOf(declaration)?.id;
  const access = declarations.filter((other) => other.kind === "SnapshotAccess" && placeOf(other)?.id === place);
  return new Set(access.map((other) => (other.arguments as { readonly serviceAccount?: unknown }).serviceAccount));
}

/** A declaration's platform and what tells it from others: its folder, or its cluster and namespace. Null when it is wrong itself. */
function placeOf({ arguments: given }: Declaration): {
  readonly platform: z.output<typeof placeSchema>;
  readonly id: string;
  readonly shown: string;
} | null {
  const parsed = z.object({ platform: placeSchema }).safeParse(given);
  if (!parsed.success) return null;
  const { platform } = parsed.data;
  if (platform.kind === "local") {
    const folder = resolve(platform.directory);
    return { platform, id: folder, shown: folder };
  }
  const { kubeconfig = "default kubeconfig", context = "current context", namespace } = platform;
  const at = (cluster: string) => `${cluster} (${context})/${namespace}`;
  return { platform, id: at(kubeconfig), shown: at(isUnknown(kubeconfig) ? "given kubeconfig" : kubeconfig) };
}
