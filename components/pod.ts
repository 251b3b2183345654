/** A toleration as a pod has it. */
export interface TolerationArgs {
  readonly key?: string;
  readonly operator?: "Exists" | "Equal";
  readonly value?: string;
  readonly effect?: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
  readonly tolerationSeconds?: number;
}

/** What a pod with ComfyUI is made of. Quantities are as Kubernetes writes them: `"500m"`, `"16Gi"`. */
export interface PodArgs {
  /**
   * Image of ComfyUI's container: the Python that the environment's venv was made with, at the same path, and CUDA's libraries where the
   * venv does not bring them. ComfyUI itself comes from the snapshot.
   */
  readonly image: string;
  /** Image of the agent's and the gateway's containers: Node.js 22.15 or later. @default "docker.io/library/node:24-slim" */
  readonly agentImage?: string;
  /** GPUs of each instance; 0 for none. @default 1 */
  readonly gpus?: number;
  /** The extended resource that GPUs are. @default "nvidia.com/gpu" */
  readonly gpuResource?: string;
  /** Requests and limits of ComfyUI's container, besides its GPUs. @default none */
  readonly resources?: {
    readonly requests?: Readonly<Record<string, string>>;
    readonly limits?: Readonly<Record<string, string>>;
  };
  /** Labels of the nodes that it may run on. @default any node with a GPU free */
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /**
   * One of `node.kubernetes.io/unreachable` (NoExecute) says with its `tolerationSeconds` how long a node may not answer before its pods are
   * given up, 5 minutes otherwise. @default the taint `nvidia.com/gpu` is tolerated
   */
  readonly tolerations?: readonly TolerationArgs[];
  /**
   * Ephemeral storage of the node for the restored environment and what ComfyUI writes. A snapshot that is larger fails at the gate; a pod
   * that comes to use more is evicted. @default "50Gi"
   */
  readonly storage?: string;
  /**
   * Keeps restored environments on each node, so that a further instance there, or one that comes back, copies its environment from the node's
   * disk and reads nothing of its content from the store. For instances only: a workstation has its environment on a claim. `path` is a folder of the nodes (a
   * `hostPath` volume, made where it is missing) that only the agent's container gets. A namespace that enforces the Pod Security level `baseline` or
   * `restricted` refuses such pods. The folder is made over to the pods' user by a container that is root for that, and ends before anything else starts.
   * `keep` is how many environments stay on a node, of all services with this path; each takes its size of the node's disk, which `storage` does
   * not count. Where a tenth of the disk would not stay free, nothing is kept. Changing it is a rotation, as for every property of a pod.
   * @default none; `keep`: 2
   */
  readonly nodeCache?: { readonly path: string; readonly keep?: number };
  /** Claim with the model files, and the folder in it; must be readable on every node. @default the environment's own models */
  readonly models?: { readonly claim: string; readonly folder?: string };
  /** Service account whose cloud credentials the agent reads the store with; ComfyUI's container gets none. @default none */
  readonly serviceAccount?: string;
  /** Secret whose keys become environment variables of the agent, such as `AWS_ACCESS_KEY_ID`. @default none */
  readonly storeCredentials?: string;
  /** @default [] */
  readonly imagePullSecrets?: readonly string[];
  /** @default none */
  readonly priorityClass?: string;
  /** For example `"nvidia"`. @default none */
  readonly runtimeClass?: string;
  /** User and group id of every container; not 0. @default 1000 */
  readonly user?: number;
}
