import type { Lab } from "../lab";
import type { Taint } from "./node-groups";

export interface Machine {
  /** Of the instance, `i-…`. */
  readonly id: string;
  /** Name of its node group. */
  readonly group: string;
}

export interface MachineRequest extends Machine {
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  /** For example `g6.xlarge`. */
  readonly type: string;
}

/** What instances are made of. */
export interface Machines {
  /** Waits until it has joined its cluster. */
  start(machine: MachineRequest): Promise<void>;
  /** At once, with all that runs there. */
  end(machine: Machine): Promise<void>;
}

/** None: instances that only the APIs speak of. */
export const noMachines: Machines = { start: async () => {}, end: async () => {} };

const effects = { NO_SCHEDULE: "NoSchedule", NO_EXECUTE: "NoExecute", PREFER_NO_SCHEDULE: "PreferNoSchedule" } as const;

/** Nodes of the lab, each with so many GPUs. */
export function labMachines(lab: Lab, gpus: number): Machines {
  return {
    start: ({ id, labels, taints }) =>
      lab.addNode(id, {
        gpus,
        labels,
        taints: taints.map(({ key, value = "", effect }) => `${key}=${value}:${effects[effect]}`),
        providerId: `aws:///eu-west-1a/${id}`,
      }),
    end: ({ id }) => lab.removeNode(id),
  };
}
