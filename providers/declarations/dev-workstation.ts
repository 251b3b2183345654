import { lstatSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import type { Problem } from "../../runtime/problems";
import { checkEnvironment } from "../../runtime/snapshot";
import { readWorkstationRecords } from "../../runtime/supervisor";
import { durationSchema } from "../../runtime/units";
import { isUnknown } from "../unknown";
import { claimProblems } from "./claim";
import {
  argumentsSchema,
  claimSchema,
  type Declaration,
  describeOwner,
  environmentSchema,
  environmentVariablesSchema,
  lookAtPlatform,
  platformSchema,
  portProblems,
  portSchema,
  type Surroundings,
  sameOwner,
} from "./common";
import { workstationOwnerProblems } from "./kubernetes";
import { pinProblems, referenceSchema } from "./online-service";
import { podSchema } from "./pod";
import { storeAccessSchema } from "./store";

export const devWorkstationSchema = z.strictObject({
  platform: platformSchema,
  environment: z.discriminatedUnion("kind", [
    claimSchema,
    environmentSchema.extend({ kind: z.undefined().optional() }),
  ]),
  from: referenceSchema.optional(),
  store: storeAccessSchema.optional(),
  state: z.enum(["running", "stopped"], 'is neither "running" nor "stopped"').default("running"),
  idleStop: durationSchema.optional(),
  port: portSchema.optional(),
  pod: podSchema.optional(),
  arguments: argumentsSchema.default([]),
  environmentVariables: environmentVariablesSchema.default({}),
  startTimeout: durationSchema.prefault("10m"),
  stopTimeout: durationSchema.prefault("10m"),
});

type Given = z.input<typeof devWorkstationSchema>;

/** What can only be found out by looking: folders, ports, claims, the snapshot that it is filled from. */
export async function lookAtDevWorkstation(
  declaration: Declaration,
  surroundings: Surroundings,
): Promise<readonly Problem[]> {
  const given = declaration.arguments as Given;
  const platform = await lookAtPlatform(declaration, surroundings, readWorkstationRecords);
  const problems = [...platform.problems, ...platformArgumentProblems(given)];
  const here = given.platform?.kind !== "kubernetes";
  if (here) problems.push(...(await localProblems(declaration, surroundings, platform.record)));
  else if (platform.cluster !== null) {
    const { cluster } = platform;
    problems.push(...(await workstationOwnerProblems(cluster, declaration.name, surroundings.owner)));
    const environment = claimSchema.safeParse(given.environment);
    // Where there is no such namespace, or it cannot be reached, that is the problem.
    if (environment.success && platform.problems.length === 0) {
      problems.push(...(await claimProblems(cluster, declaration.name, environment.data)));
    }
  }
  return [...problems, ...(await fromProblems(given, here))];
}

async function localProblems(
  { name, arguments: values }: Declaration,
  { owner }: Surroundings,
  record: ReturnType<typeof readWorkstationRecords>[number] | undefined,
): Promise<readonly Problem[]> {
  const given = values as Given;
  const problems: Problem[] = [];
  // One that is to be filled need not be there yet.
  if (given.from === undefined || !isToBeFilled(given.environment)) {
    problems.push(...(await environmentProblems(given.environment)));
  }
  if (record && !sameOwner(record.declaration.owner, owner)) {
    problems.push({
      path: "name",
      reason: `workstation ${name} on this platform is owned by ${describeOwner(record.declaration.owner)}; choose another name`,
    });
  }
  return [...problems, ...(await portProblems("port", given.port, record?.port))];
}

/** Arguments that one kind of platform has and the other has not. */
function platformArgumentProblems({ platform, environment, pod, idleStop }: Given): readonly Problem[] {
  const isClaim = claimSchema.safeParse(environment).success;
  if (platform?.kind === "kubernetes") {
    const isFolder = typeof environment === "object" && environment !== null && "root" in environment;
    const problems: Problem[] = [];
    if (Object(pod).nodeCache !== undefined) {
      const reason = "is for the instances of a service: a workstation has its environment on a claim";
      problems.push({ path: "pod.nodeCache", reason });
    }
    if (!isFolder) return problems;
    const reason = `${JSON.stringify(environment.root)} is a folder of this machine, which pods do not reach: use claim({ size: "200Gi" }), or claim({ name }) of one that is there`;
    return [...problems, { path: "environment", reason }];
  }
  if (platform?.kind !== "local") return [];
  const onlyInCluster = (path: string) => ({ path, reason: "is for a workstation on kubernetes({ … })" });
  return [
    ...(isClaim
      ? [{ path: "environment", reason: "is a claim, which only kubernetes({ … }) has: name a folder" }]
      : []),
    ...(pod === undefined ? [] : [onlyInCluster("pod")]),
    ...(idleStop === undefined ? [] : [onlyInCluster("idleStop")]),
  ];
}

/** The snapshot that it is filled from; of no use, and not looked at, where there is an environment already. */
async function fromProblems({ from, store, environment }: Given, here: boolean): Promise<readonly Problem[]> {
  if (from === undefined || isUnknown(from) || !referenceSchema.safeParse(from).success) return [];
  if (here && !isToBeFilled(environment)) return [];
  const access = storeAccessSchema.safeParse(store ?? {});
  if (!access.success) return [];
  return (await pinProblems(from, access.data, { here })).map(({ reason }) => ({ path: "from", reason }));
}

/** Whether a folder is not there, or has nothing in it. */
export function isToBeFilled(environment: unknown): boolean {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) return false;
  const root = resolve(parsed.data.root);
  const found = lstatSync(root, { throwIfNoEntry: false });
  return found === undefined || (found.isDirectory() && readdirSync(root).length === 0);
}

/** What is wrong with an environment on this machine; nothing where its declaration itself is wrong. */
export async function environmentProblems(environment: unknown): Promise<readonly Problem[]> {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) return [];
  const { root, layout } = parsed.data;
  const problems = await checkEnvironment({ root: resolve(root), layout });
  return problems.map(({ path, reason }) => ({ path: `environment.${path}`, reason }));
}
