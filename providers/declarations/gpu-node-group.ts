import { z } from "zod";
import type { Problem } from "../../runtime/problems";
import { parse } from "../parsing";
import { machineConflicts, nodeMachineShape } from "./node-machine";

const nodesSchema = z.int("is not a whole number of nodes");

/** https://docs.aws.amazon.com/eks/latest/APIReference/API_NodegroupScalingConfig.html */
const mostNodesSchema = nodesSchema.min(1, "is less than 1, the least that a node group may be allowed");

const rangeSchema = z.strictObject(
  {
    min: nodesSchema.min(0, "is less than 0"),
    max: mostNodesSchema,
    desired: nodesSchema.min(0, "is less than 0").optional(),
  },
  "is neither a number of nodes nor { min, max }",
);

const othersShape = {
  ...nodeMachineShape,
  devicePlugin: z
    .strictObject({
      provider: z.unknown(),
      version: z
        .string()
        .regex(/^\d+\.\d+\.\d+$/, 'is no version of the device plugin, such as "0.17.4"')
        .optional(),
    })
    .optional(),
};
// Apart, so that what is wrong is said of the one that was meant.
const fixedGroupSchema = z.strictObject({ ...othersShape, size: mostNodesSchema });
const rangeGroupSchema = z.strictObject({ ...othersShape, size: rangeSchema });

/** Everything that is wrong with a `GpuNodeGroup` as it is declared: what is known later is no problem yet. */
export function gpuNodeGroupProblems(name: string, declared: object): readonly Problem[] {
  const { size } = declared as { readonly size?: unknown };
  const schema: z.ZodType = typeof size === "number" ? fixedGroupSchema : rangeGroupSchema;
  const { problems: found } = parse(schema, declared);
  const problems = [...found, ...machineConflicts(declared), ...sizeConflicts(size)];
  // Its name gets a hyphen and eight characters, and EKS takes 63.
  if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,53}$/.test(name)) {
    const reason = `${JSON.stringify(name)} cannot name a node group: use up to 54 letters, digits and hyphens, the first no hyphen`;
    problems.unshift({ path: "name", reason });
  }
  const { devicePlugin, ami } = declared as {
    readonly devicePlugin?: unknown;
    readonly ami?: { readonly type?: unknown };
  };
  if (devicePlugin !== undefined && typeof ami?.type === "string" && ami.type.startsWith("BOTTLEROCKET")) {
    problems.push({ path: "devicePlugin", reason: `comes with ${ami.type}: leave it out` });
  }
  const component = `GpuNodeGroup ${JSON.stringify(name)}`;
  return problems.map(({ path, reason }) => ({ path: path === "" ? component : `${component} ${path}`, reason }));
}

function sizeConflicts(size: unknown): readonly Problem[] {
  if (typeof size !== "object" || size === null) return [];
  const { min, max, desired } = size as { readonly min?: unknown; readonly max?: unknown; readonly desired?: unknown };
  const problems: Problem[] = [];
  if (Number(max) < Number(min)) problems.push({ path: "size.max", reason: `${max} is less than size.min, ${min}` });
  if (desired !== undefined && (Number(desired) < Number(min) || Number(desired) > Number(max))) {
    problems.push({
      path: "size.desired",
      reason: `${desired} is not between size.min and size.max, ${min} and ${max}`,
    });
  }
  return problems;
}
