import type { V1Deployment } from "@kubernetes/client-node";
import type { Watch } from "../waiting";
import type { Cluster } from "./connection";
import { scale } from "./deployments";
import { WorkstationRecords } from "./workstation-record";
import { untilWorkstationRuns, type WorkstationStart } from "./workstation-start";

/** Milliseconds that a start gets: its image may have to be pulled, its node to be made. */
const startTimeout = 30 * 60_000;

/**
 * Starts a workstation that has stopped itself, and waits until it runs. Returns why it does not and is not to, or null once it runs. What is declared
 * does not change.
 */
export async function wakeWorkstation(cluster: Cluster, name: string, watch: Watch): Promise<string | null> {
  const records = new WorkstationRecords(cluster, name);
  const deployment = await records.deployment();
  if (deployment === null) return "it has no Deployment yet: run pulumi up";
  if (deployment.spec?.replicas === 0) {
    if ((await records.idleStopped()) === null) {
      return 'it is stopped: declare it with state: "running", and run pulumi up';
    }
    await scale(cluster, records.names.workstation, 1);
  }
  await untilWorkstationRuns(records, {
    ...watch,
    deployment: deployment.metadata?.uid ?? "",
    settings: settingsOf(deployment),
    timeout: startTimeout,
    stopTimeout: 0,
    warn: watch.progress,
  });
  return null;
}

/** What its pod asks for, as far as it tells what is missing. */
function settingsOf({ spec }: V1Deployment): WorkstationStart["settings"] {
  const { nodeSelector = {}, tolerations = [], containers = [] } = spec?.template.spec ?? {};
  const limits = Object.entries(containers.find(({ name }) => name === "comfyui")?.resources?.limits ?? {});
  // Extended resources alone have a prefix.
  const [resource, count] = limits.find(([key]) => key.includes("/")) ?? ["", "0"];
  return {
    gpu: { resource, count: Number(count) },
    nodeSelector,
    tolerations: tolerations as WorkstationStart["settings"]["tolerations"],
  };
}
