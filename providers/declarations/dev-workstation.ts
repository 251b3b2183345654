import { resolve } from "node:path";
import { z } from "zod";
import type { Problem } from "../../runtime/problems";
import { checkEnvironment } from "../../runtime/snapshot";
import { readWorkstationRecords } from "../../runtime/supervisor";
import { durationSchema } from "../../runtime/units";
import {
  argumentsSchema,
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

export const devWorkstationSchema = z.strictObject({
  platform: platformSchema,
  environment: environmentSchema,
  state: z.enum(["running", "stopped"], 'is neither "running" nor "stopped"').default("running"),
  port: portSchema.optional(),
  arguments: argumentsSchema.default([]),
  environmentVariables: environmentVariablesSchema.default({}),
  startTimeout: durationSchema.prefault("10m"),
  stopTimeout: durationSchema.prefault("10m"),
});

export async function lookAtDevWorkstation(
  declaration: Declaration,
  surroundings: Surroundings,
): Promise<readonly Problem[]> {
  const given = declaration.arguments as z.input<typeof devWorkstationSchema>;
  const platform = await lookAtPlatform(declaration, surroundings, readWorkstationRecords);
  const { record } = platform;
  const problems: Problem[] = [...platform.problems, ...(await environmentProblems(given.environment))];
  if (record && !sameOwner(record.declaration.owner, surroundings.owner)) {
    problems.push({
      path: "name",
      reason: `workstation ${declaration.name} on this platform is owned by ${describeOwner(record.declaration.owner)}; choose another name`,
    });
  }
  problems.push(...(await portProblems("port", given.port, record?.port)));
  return problems;
}

/** What is wrong with an environment on this machine; nothing where its declaration itself is wrong. */
export async function environmentProblems(environment: unknown): Promise<readonly Problem[]> {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) return [];
  const { root, layout } = parsed.data;
  const problems = await checkEnvironment({ root: resolve(root), layout });
  return problems.map(({ path, reason }) => ({ path: `environment.${path}`, reason }));
}
