import { resolve } from "node:path";
import type { Command } from "commander";
import { type Cluster, connectCluster } from "../kubernetes";
import { InvalidInputError } from "../problems";
import type { OutputOptions } from "./output";

/** Which namespace of which cluster a command looks at, instead of the local platform. */
export interface ClusterOptions extends OutputOptions {
  readonly namespace?: string;
  readonly context?: string;
  readonly kubeconfig?: string;
}

/** Options of commands that look at either platform. */
export function withClusterOptions(command: Command): Command {
  return command
    .option("-n, --namespace <namespace>", "look at this namespace of a Kubernetes cluster (default: the context's)")
    .option("--context <context>", "one of the kubeconfig's contexts (default: the current one)")
    .option("--kubeconfig <path>", "the kubeconfig (default: KUBECONFIG, else ~/.kube/config)");
}

/** The same options, and no others. */
export function clusterOptionsOf({ namespace, context, kubeconfig }: ClusterOptions): ClusterOptions {
  return {
    ...(namespace === undefined ? {} : { namespace }),
    ...(context === undefined ? {} : { context }),
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
  };
}

/** Whether a person asks for a cluster. @throws InvalidInputError when a folder is named as well */
export function namesCluster(options: ClusterOptions, directory?: string): boolean {
  const given = Object.keys(clusterOptionsOf(options)).map((name) => `--${name}`);
  if (given.length > 0 && directory !== undefined) {
    const reason = `cannot be used with ${given.join(" and ")}: the local platform is a folder, the other one a cluster's namespace`;
    throw new InvalidInputError([{ path: "--directory", reason }]);
  }
  return given.length > 0;
}

/** Connects to the cluster that the options name; asks nothing yet. @throws InvalidInputError where there is none such */
export async function clusterFrom(options: ClusterOptions, cwd: string): Promise<Cluster> {
  const { namespace, context, kubeconfig } = options;
  const cluster = await connect({
    kubeconfig: kubeconfig === undefined ? undefined : resolve(cwd, kubeconfig),
    context,
  });
  const { config } = cluster;
  const chosen = namespace ?? config.getContextObject(config.getCurrentContext())?.namespace;
  if (chosen) return { ...cluster, namespace: chosen };
  throw new InvalidInputError([
    { path: "--namespace", reason: `the context ${config.getCurrentContext()} has no namespace of its own: name one` },
  ]);
}

async function connect(address: { readonly kubeconfig: string | undefined; readonly context: string | undefined }) {
  try {
    return await connectCluster({ ...address, namespace: "" });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const path = address.context !== undefined && reason.includes("context") ? "--context" : "--kubeconfig";
    throw new InvalidInputError([{ path, reason }]);
  }
}
