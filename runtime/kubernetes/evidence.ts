import type { V1Pod } from "@kubernetes/client-node";
import type { Evidence } from "../deployment";
import type { Cluster } from "./connection";
import { reasonOf } from "./failure";
import { containers, type PodFault, type PodStanding } from "./pod-phase";

/** Lines of each log that a person is shown. */
const tail = 15;
/** Events that a person is shown, the newest. */
const mostEvents = 5;

/** Collects why a pod is not what it should be: what it says itself, what the cluster says of it, and the ends of its logs. */
export async function evidenceOf(
  cluster: Cluster,
  pod: V1Pod,
  instance: string,
  { phase, detail, fault }: PodStanding,
): Promise<Evidence> {
  const [events, comfyui, agent] = await Promise.all([
    eventsOf(cluster, pod),
    logOf(cluster, pod, containers.comfyui),
    logOf(cluster, pod, containers.agent),
  ]);
  return {
    instance,
    phase: fault?.phase ?? phase,
    reason: [fault?.reason ?? (detail || "it is not proven yet"), ...events].join("; "),
    ...(fault?.plugin === undefined ? {} : { plugin: fault.plugin }),
    ...(fault?.traceback === undefined ? {} : { traceback: fault.traceback }),
    logTail: logsOf(fault, comfyui, agent),
  };
}

function logsOf(fault: PodFault | null, comfyui: readonly string[], agent: readonly string[]): readonly string[] {
  if (fault?.logTail !== undefined && fault.logTail.length > 0) return fault.logTail;
  return comfyui.length > 0 ? comfyui : agent;
}

/** Warnings about a pod: failed scheduling, pulls, mounts, probes. */
async function eventsOf({ core, namespace }: Cluster, { metadata }: V1Pod): Promise<readonly string[]> {
  try {
    const fieldSelector = `involvedObject.uid=${metadata?.uid},type=Warning`;
    const { items } = await core.listNamespacedEvent({ namespace, fieldSelector });
    // That a restore takes its time is no news, and the kubelet tells it with every probe.
    const telling = items.filter(
      ({ reason, message }) => !(reason === "Unhealthy" && message?.startsWith("Startup probe failed")),
    );
    const texts = telling.map(
      ({ reason, message, count }) => `${reason}: ${message?.trim()}${count ? ` (×${count})` : ""}`,
    );
    return texts.slice(-mostEvents);
  } catch (error) {
    return [`its events cannot be read: ${reasonOf(error)}`];
  }
}

/** The end of a container's log, of its run before where this one has said nothing yet. */
async function logOf(
  { core, namespace }: Cluster,
  { metadata, spec }: V1Pod,
  container: string,
): Promise<readonly string[]> {
  if (spec?.nodeName === undefined) return [];
  for (const previous of [false, true]) {
    try {
      const name = metadata?.name ?? "";
      const text = await core.readNamespacedPodLog({ name, namespace, container, previous, tailLines: tail });
      const lines = String(text).split("\n").filter(Boolean);
      if (lines.length > 0) return lines;
    } catch {
      // A container that has not started has no log; the pod's own standing says so.
    }
  }
  return [];
}
