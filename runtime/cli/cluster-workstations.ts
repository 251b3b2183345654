import type { V1ConfigMap, V1Pod } from "@kubernetes/client-node";
import {
  idleStoppedAnnotation,
  type Phase,
  type WorkstationStatus,
  workstationKeys,
  workstationStatusIn,
} from "../deployment";
import { type NamespaceObjects, parseWorkstationRecord, partLabel, serviceLabel, standingOf } from "../kubernetes";
import type { WorkstationView } from "./platform-view";

/** The workstations of a namespace: their records, pods, and what their agents tell. */
export function workstationViews(objects: NamespaceObjects, namespace: string): readonly WorkstationView[] {
  return objects.configMaps
    .filter((object) => partLabel(object) === "workstation" && object.data?.["record.json"] !== undefined)
    .map((object) => workstationView(object, objects, namespace))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function workstationView(recordObject: V1ConfigMap, all: NamespaceObjects, namespace: string): WorkstationView {
  const name = serviceLabel(recordObject);
  const { claim, state } = parseWorkstationRecord(recordObject);
  const isOwn = (object: { readonly metadata?: V1Pod["metadata"] }) =>
    partLabel(object) === "workstation" && serviceLabel(object) === name;
  const pod = all.pods.filter(isOwn).at(-1);
  const told = all.configMaps.filter(isOwn).find(({ data }) => data?.[workstationKeys.status] !== undefined);
  const status = workstationStatusIn(told?.data);
  const current = status !== null && status.pod === pod?.metadata?.name ? status : null;
  const deployment = all.deployments.find(isOwn);
  const service = all.services.find(isOwn);
  const port = service?.spec?.ports?.[0]?.port ?? 80;
  const host = `${service?.metadata?.name ?? `${name}-workstation`}.${namespace}.svc`;
  const { phase, detail } = pod === undefined ? { phase: "stopped" as const, detail: "" } : phaseOf(pod, current);
  return {
    name,
    owner: claim.owner,
    root:
      deployment?.spec?.template.spec?.volumes?.find(({ persistentVolumeClaim }) => persistentVolumeClaim !== undefined)
        ?.persistentVolumeClaim?.claimName ?? "",
    declared: state,
    phase,
    detail,
    idleStopped: pod === undefined ? (told?.metadata?.annotations?.[idleStoppedAnnotation] ?? null) : null,
    node: pod?.spec?.nodeName ?? null,
    url: `http://${host}${port === 80 ? "" : `:${port}`}`,
    queueRemaining: current?.queueRemaining ?? null,
    restarts: current === null ? null : Math.max(0, current.start - 1),
  };
}

/** What the agent says goes before what its pod shows, unless the pod is going or shows a fault. */
function phaseOf(
  pod: V1Pod,
  told: WorkstationStatus | null,
): { readonly phase: Phase | "running" | "stopping"; readonly detail: string } {
  const { phase, detail, fault } = standingOf(pod);
  if (fault !== null) return { phase: fault.kind === "certain" ? "failed" : phase, detail: fault.reason };
  if (phase === "draining") return { phase: "stopping", detail: told?.detail || detail };
  if (told === null) return { phase: phase === "proven" ? "running" : phase, detail };
  return { phase: told.phase, detail: told.blocked ?? told.detail };
}
