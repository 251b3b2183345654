import { execFile } from "node:child_process";
import { promisify } from "node:util";

export interface NodeOptions {
  /** Units of `nvidia.com/gpu`, an extended resource without hardware. Default 0. */
  readonly gpus?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** For example `nvidia.com/gpu=present:NoSchedule`. */
  readonly taints?: readonly string[];
  /** As a cloud names its machine: `aws:///eu-west-1a/i-0123`. Default: none. */
  readonly providerId?: string;
}

export interface VolumeOptions {
  /** The only node whose pods may use it. Default: all. */
  readonly node?: string;
  /** Default all but ReadWriteOncePod, which has to be the only one. */
  readonly modes?: readonly ("ReadWriteOnce" | "ReadWriteMany" | "ReadOnlyMany" | "ReadWriteOncePod")[];
}

export type Component =
  | "etcd"
  | "apiserver"
  | "controllers"
  | "scheduler"
  | "proxy"
  | "policies"
  | `kubelet-${string}`
  | `containerd-${string}`;

/** The cluster of test/lab: what only its machine can do to it. */
export class Lab {
  /** This machine, as pods reach it. */
  readonly machineAddress = "10.88.0.1";
  /** The class of its volumes. */
  readonly storageClass = "lab";
  /** The node that is always there; it has no GPUs. */
  readonly firstNode = "lab";
  readonly #command: string;
  readonly #nodes = new Set<string>();
  readonly #volumes = new Set<string>();

  constructor(command: string) {
    this.#command = command;
  }

  /** Adds a node and waits until it is ready. */
  async addNode(name: string, { gpus = 0, labels = {}, taints = [], providerId }: NodeOptions = {}): Promise<void> {
    this.#nodes.add(name);
    await this.#call([
      ...["node", "add", name, "--gpus", String(gpus)],
      ...Object.entries(labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]),
      ...taints.flatMap((taint) => ["--taint", taint]),
      ...(providerId === undefined ? [] : ["--provider-id", providerId]),
    ]);
  }

  /** As a cloud does it: the machine and its Node object go at once, with every pod on it. */
  async removeNode(name: string): Promise<void> {
    await this.#call(["node", "remove", name]);
    this.#nodes.delete(name);
  }

  /** The machine fails: it goes with every pod on it, but its Node object stays, and is not ready 12 seconds later. */
  async failNode(name: string): Promise<void> {
    await this.#call(["node", "stop", name]);
  }

  /** A folder of the machine as PersistentVolume; gives the folder's path. What is in it goes with it. */
  async addVolume(name: string, gibibytes: number, { node, modes = [] }: VolumeOptions = {}): Promise<string> {
    this.#volumes.add(name);
    const options = [...(node === undefined ? [] : ["--node", node]), ...modes.flatMap((mode) => ["--mode", mode])];
    return (await this.#call(["volume", "add", name, String(gibibytes), ...options])).trim();
  }

  async removeVolume(name: string): Promise<void> {
    await this.#call(["volume", "remove", name]);
    this.#volumes.delete(name);
  }

  /** Kills a component (SIGKILL) and starts it again; does not wait until it answers. */
  async restart(component: Component): Promise<void> {
    await this.#call(["restart", component]);
  }

  /** Kills a component (SIGKILL); {@link restart} starts it again. */
  async kill(component: Component): Promise<void> {
    await this.#call(["kill", component]);
  }

  /** Removes the nodes and volumes that were added by this. */
  async removeAll(): Promise<void> {
    for (const name of this.#nodes) await this.#call(["node", "remove", name]);
    for (const name of this.#volumes) await this.removeVolume(name);
    this.#nodes.clear();
  }

  async #call(args: readonly string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(this.#command, args, { timeout: 120_000 });
    return stdout;
  }
}
