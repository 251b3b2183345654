import { z } from "zod";
import { instanceType } from "../../runtime/aws";

/** What nodes are made of, as far as it tells how many instances they take and what they cost. */
export const machineSchema = z.object({
  instanceTypes: z.array(z.string()),
  capacity: z.enum(["onDemand", "spot", "capacityBlock"]).default("onDemand"),
  gpusPerNode: z.int().optional(),
  instancesPerNode: z.int().min(1).optional(),
});

export type Machine = z.output<typeof machineSchema>;

export interface Needs {
  readonly machine: Machine;
  readonly gpu: { readonly count: number };
}

/** GPUs of each node; undefined where neither table nor arguments tell. */
export function gpusPerNode({ instanceTypes, gpusPerNode }: Machine): number | undefined {
  return gpusPerNode ?? instanceType(instanceTypes[0] ?? "")?.gpus;
}

/** Instances that have their GPUs on one node; 0 where one does not fit. */
export function instancesPerNode({ machine, gpu }: Needs): number {
  if (machine.instancesPerNode !== undefined) return machine.instancesPerNode;
  if (gpu.count === 0) return 1;
  const gpus = gpusPerNode(machine);
  return gpus === undefined ? 1 : Math.floor(gpus / gpu.count);
}

/** Nodes for so many instances. */
export function nodesFor(instances: number, needs: Needs): number {
  return Math.ceil(instances / Math.max(1, instancesPerNode(needs)));
}
