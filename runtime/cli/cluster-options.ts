import { resolve } from "node:path";
import type { Command } from "commander";
import type { ClusterAddress } from "../kubernetes";
import { InvalidInputError } from "../problems";

/** Options of commands that look at a Kubernetes platform. */
export interface ClusterOptions {
  readonly namespace?: string;
  readonly context?: string;
  readonly kubeconfig?: string;
}

export function withClusterOptions(command: Command): Command {
  return command
    .option("--namespace <namespace>", "a Kubernetes platform's namespace, instead of the local platform")
    .option("--context <name>", "with --namespace: one of the kubeconfig's contexts (default: the current one)")
    .option("--kubeconfig <file>", "with --namespace (default: KUBECONFIG, else ~/.kube/config)");
}

/** Where the Kubernetes platform is that the options mean; null where they mean the local one. */
export function clusterFrom(
  { namespace, context, kubeconfig }: ClusterOptions,
  directory: string | undefined,
  cwd: string,
): ClusterAddress | null {
  if (namespace !== undefined) {
    if (directory !== undefined) {
      const reason = "is of the local platform, and --namespace of one on Kubernetes: give one of them";
      throw new InvalidInputError([{ path: "--directory", reason }]);
    }
    return { namespace, context, kubeconfig: kubeconfig === undefined ? undefined : resolve(cwd, kubeconfig) };
  }
  const alone = context !== undefined ? "--context" : kubeconfig !== undefined ? "--kubeconfig" : null;
  if (alone === null) return null;
  throw new InvalidInputError([
    { path: alone, reason: "needs --namespace, the one that kubernetes({ namespace }) names" },
  ]);
}
