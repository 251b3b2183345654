import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { useKubernetesPlugin } from "./kubernetes-plugin-path";
import { PulumiProject } from "./pulumi-project";

/** A resource of @pulumi/kubernetes as a test declares it. */
export interface Declared {
  /** Where the class is in the SDK, for example `core.v1.ConfigMap`. */
  readonly type: string;
  readonly name: string;
  /** A value `{ secret: … }` becomes a secret. */
  readonly args: object;
  readonly options?: {
    readonly dependsOn?: readonly string[];
    readonly ignoreChanges?: readonly string[];
    readonly import?: string;
    readonly retainOnDelete?: boolean;
  };
}

const program = `
const { readFileSync } = require("node:fs");
const pulumi = require("@pulumi/pulumi");
const kubernetes = require("@pulumi/kubernetes");

const { provider, resources } = JSON.parse(readFileSync("kubernetes.json", "utf8"));
const cluster = new kubernetes.Provider("cluster", provider);
const made = {};
for (const { type, name, args, options } of resources) {
  const Resource = type.split(".").reduce((module, step) => module[step], kubernetes);
  const dependsOn = (options?.dependsOn ?? []).map((other) => made[other]);
  made[name] = new Resource(name, withSecrets(args), { ...options, dependsOn, provider: cluster });
}
module.exports = Object.fromEntries(
  Object.entries(made).flatMap(([name, { id, metadata }]) => [
    [name, id],
    [name + ".uid", metadata.uid],
  ]),
);

function withSecrets(value) {
  if (Array.isArray(value)) return value.map(withSecrets);
  if (typeof value !== "object" || value === null) return value;
  if (Object.keys(value).join() === "secret") return pulumi.secret(value.secret);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withSecrets(inner)]));
}
`;

/** A Pulumi project whose program declares what a test says, with the kubernetes plugin on PATH. */
export function kubernetesProject(): PulumiProject {
  useKubernetesPlugin();
  return PulumiProject.create({ program, name: "plugin-test" });
}

export function declare(project: PulumiProject, provider: object, resources: readonly Declared[]): void {
  writeFileSync(join(project.folder, "kubernetes.json"), JSON.stringify({ provider, resources }));
}
