import type { V1Node, V1Pod } from "@kubernetes/client-node";
import type { PodSettings, Toleration } from "../deployment";

/** How many GPUs the cluster has for pods of a kind. */
export interface Capacity {
  readonly resource: string;
  /** Nodes on which such pods may be. */
  readonly nodes: number;
  readonly allocatable: number;
  readonly free: number;
}

/** Counts a GPU resource on the nodes that would take a pod of these settings. */
export function gpuCapacity(
  settings: Pick<PodSettings, "gpu" | "nodeSelector" | "tolerations">,
  nodes: readonly V1Node[],
  pods: readonly V1Pod[],
): Capacity {
  const { resource } = settings.gpu;
  const fitting = nodes.filter((node) => takes(node, settings));
  const names = new Set(fitting.map(({ metadata }) => metadata?.name));
  const allocatable = sum(fitting.map(({ status }) => Number(status?.allocatable?.[resource] ?? 0)));
  const taken = sum(
    pods
      .filter(({ spec, status }) => names.has(spec?.nodeName) && !isOver(status?.phase))
      .map((pod) => requested(pod, resource)),
  );
  return { resource, nodes: fitting.length, allocatable, free: Math.max(0, allocatable - taken) };
}

/** What a person should know when pods wait for GPUs, or null when they wait for something else. */
export function shortage({ resource, nodes, free }: Capacity, waiting: number, each: number): string | null {
  const needed = waiting * each;
  if (each === 0 || free >= needed) return null;
  return `${waiting} ${waiting === 1 ? "instance needs" : "instances need"} ${needed} ${resource}, ${free} ${free === 1 ? "is" : "are"} free on the ${nodes} nodes that take them so far: while a release is replaced, both need their GPUs. Where an autoscaler brings nodes, they are waited for`;
}

function takes(
  node: V1Node,
  { nodeSelector, tolerations }: Pick<PodSettings, "nodeSelector" | "tolerations">,
): boolean {
  const labels = node.metadata?.labels ?? {};
  if (node.spec?.unschedulable === true) return false;
  if (!node.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True")) return false;
  if (Object.entries(nodeSelector).some(([key, value]) => labels[key] !== value)) return false;
  const hard = (node.spec?.taints ?? []).filter(({ effect }) => effect !== "PreferNoSchedule");
  return hard.every((taint) => tolerations.some((toleration) => tolerates(toleration, taint)));
}

export interface Taint {
  readonly key: string;
  readonly value?: string;
  readonly effect: string;
}

/** https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ */
export function tolerates({ key, operator = "Equal", value = "", effect }: Toleration, taint: Taint): boolean {
  if (effect !== undefined && effect !== taint.effect) return false;
  if (key === undefined) return operator === "Exists";
  return key === taint.key && (operator === "Exists" || value === (taint.value ?? ""));
}

function requested({ spec }: V1Pod, resource: string): number {
  const of = (list: readonly { readonly resources?: { readonly limits?: Record<string, string> } }[] | undefined) =>
    (list ?? []).map(({ resources }) => Number(resources?.limits?.[resource] ?? 0));
  return Math.max(sum(of(spec?.containers)), ...of(spec?.initContainers));
}

const isOver = (phase: string | undefined) => phase === "Succeeded" || phase === "Failed";
const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
