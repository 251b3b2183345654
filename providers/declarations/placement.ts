import { z } from "zod";
import type { Toleration } from "../../runtime/deployment";
import { type Cluster, lookAtNodePool, type Taint, tolerates } from "../../runtime/kubernetes";
import type { Problem } from "../../runtime/problems";
import { durationSchema } from "../../runtime/units";
import { gpusPerNode, machineSchema } from "../eks/machine";
import { isUnknown } from "../unknown";
import { machineConflicts, nodeMachineShape } from "./node-machine";
import { objectNameSchema } from "./pod";

/** What a release is told of where its pods run. */
export const releasePlacementSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("shared"), nodeGroup: z.string() }),
  z.object({
    kind: z.literal("perRelease"),
    cluster: z.string(),
    region: z.string().optional(),
    profile: z.string().optional(),
    machine: z.string(),
  }),
  z.object({ kind: z.literal("karpenter"), nodePool: z.string() }),
]);

const sharedSchema = z.strictObject({
  kind: z.literal("shared"),
  nodeGroup: z.string().min(1, "names no node group"),
  /** Of a group that this program makes. */
  gpusPerNode: z.unknown().optional(),
  taints: z.unknown().optional(),
});
const karpenterSchema = z.strictObject({ kind: z.literal("karpenter"), nodePool: objectNameSchema });
const anywhereSchema = z.strictObject({ kind: z.literal("anywhere") });
const perReleaseSchema = z.strictObject({
  kind: z.literal("perRelease"),
  ...nodeMachineShape,
  timeout: durationSchema.prefault("20m"),
  instancesPerNode: z
    .int("is not a whole number of instances")
    .min(1, "is less than 1: leave it out for as many as have their GPUs there")
    .max(110, "is more than the pods that a node takes")
    .optional(),
});

/** A placement as it is declared. */
export const placementSchema = z.discriminatedUnion(
  "kind",
  [sharedSchema, perReleaseSchema, karpenterSchema, anywhereSchema],
  { error: "is no known placement: use shared(nodeGroup), perRelease({ … }), karpenter({ nodePool }) or anywhere()" },
);

interface Pods {
  readonly gpus?: unknown;
  readonly tolerations?: unknown;
}

/**
 * What does not go together in a placement, and with its pods, as they are declared: anything may be missing, wrong or known later.
 * @param pod what the platform says of pods, under what the service says.
 */
export function placementProblems(declared: unknown, pod: Pods): readonly Problem[] {
  if (typeof declared !== "object" || declared === null) return [];
  const placement = declared as { readonly kind?: unknown; readonly gpusPerNode?: unknown; readonly taints?: unknown };
  const at = ({ path, reason }: Problem) => ({ path: `placement.${path}`, reason });
  if (placement.kind === "perRelease") {
    return [
      ...machineConflicts(declared).map(at),
      ...gpuProblems(gpusOf(declared), typesText(declared), pod),
      ...taintProblems(placement.taints, pod),
    ];
  }
  if (placement.kind !== "shared") return [];
  const { gpusPerNode, taints } = placement;
  const gpus = typeof gpusPerNode === "number" ? gpusPerNode : undefined;
  return [...gpuProblems(gpus, "a node of the group", pod), ...taintProblems(taints, pod)];
}

function gpusOf(declared: object): number | undefined {
  const parsed = machineSchema.safeParse(declared);
  return parsed.success ? gpusPerNode(parsed.data) : undefined;
}

function typesText(declared: object): string {
  const { instanceTypes } = declared as { readonly instanceTypes?: readonly string[] };
  return instanceTypes?.[0] ?? "a node";
}

function gpuProblems(has: number | undefined, what: string, { gpus = 1 }: Pods): readonly Problem[] {
  if (has === undefined || typeof gpus !== "number" || gpus <= has) return [];
  return [{ path: "pod.gpus", reason: `an instance needs ${gpus} GPUs on one node, and ${what} has ${has}` }];
}

/** Taints that the pods do not tolerate; that of GPUs they always do. */
function taintProblems(declared: unknown, { tolerations }: Pods): readonly Problem[] {
  if (!Array.isArray(declared) || (tolerations !== undefined && !Array.isArray(tolerations))) return [];
  const list = (tolerations ?? []) as readonly Toleration[];
  return (declared as readonly Taint[])
    .filter(({ key, effect }) => key !== "nvidia.com/gpu" && effect !== "PreferNoSchedule")
    .filter((taint) => !list.some((toleration) => tolerates(toleration, taint)))
    .map(({ key, value, effect }) => ({
      path: "pod.tolerations",
      reason: `tolerate no ${[key, value].filter(Boolean).join("=")}:${effect}, which the placement's nodes are tainted with`,
    }));
}

/** Whether Karpenter makes nodes for one release alone. Where that may not be looked at, the release's own check warns. */
export async function nodePoolProblems(cluster: Cluster, declared: unknown): Promise<readonly Problem[]> {
  const parsed = karpenterSchema.safeParse(declared);
  if (!parsed.success || isUnknown(parsed.data.nodePool)) return [];
  const look = await lookAtNodePool(cluster, parsed.data.nodePool);
  return look.kind === "wrong" ? [{ path: "placement.nodePool", reason: look.reason }] : [];
}
