import type { Release } from "../deployment";
import { table } from "./output";
import {
  type GatewayPodView,
  hasEnded,
  type InstanceView,
  type PlatformView,
  placeText,
  type ServiceView,
  stackName,
  type WorkstationView,
} from "./platform-view";
import { age, indent, shortId } from "./text";

/** A platform's state for a person. */
export function statusText(view: PlatformView, problems: readonly string[], now: number): string {
  const { services, workstations } = view;
  return [
    headText(view, now),
    ...services.map((service) => serviceText(service, now)),
    ...(workstations.length > 0 ? [workstationsText(workstations)] : []),
    problems.length === 0 ? "Healthy." : `Not healthy:\n${indent(problems.join("\n"))}`,
  ].join("\n\n");
}

function headText(view: PlatformView, now: number): string {
  if (view.kind === "kubernetes") return placeText(view);
  const { directory, supervisor } = view;
  return supervisor === null
    ? `Nothing runs in ${directory}: no supervisor answers. Its records say:`
    : `${directory}: supervisor ${supervisor.pid}, for ${age(supervisor.startedAt, now)}`;
}

function serviceText(service: ServiceView, now: number): string {
  const { name, gateway, serving, owner, instances } = service;
  const running = gateway?.running === false ? " (down)" : "";
  const head = `Service ${name}: ${serving === null ? "serves nothing" : `serves ${serving}`}${
    gateway === null ? ", no gateway" : ` at ${gateway.url}${running}`
  }, stack ${stackName(owner)}`;
  const releases = service.releases.filter((release) => !hasEnded(release));
  const parts = [head];
  if (releases.length > 0) parts.push(indent(releasesTable(releases, serving, now)));
  if (instances.length > 0) parts.push(indent(instancesTable(instances, now)));
  if (gateway?.pods !== undefined && gateway.pods.length > 0) parts.push(indent(gatewayTable(gateway.pods, now)));
  return parts.join("\n");
}

function releasesTable(releases: readonly Release[], serving: string | null, now: number): string {
  return table(
    ["RELEASE", "STATE", "WANTED", "SINCE", "SNAPSHOT"],
    releases.map(({ id, count, events, spec }) => {
      const last = events.at(-1);
      const state = id === serving ? "serving" : last?.event;
      const digest = spec.snapshot.slice(spec.snapshot.lastIndexOf(":") + 1);
      return [id, state, count, last && age(last.at, now), shortId(digest)];
    }),
  );
}

function instancesTable(instances: readonly InstanceView[], now: number): string {
  const inCluster = instances.some(({ node }) => node !== undefined);
  return table(
    ["INSTANCE", "RELEASE", "PHASE", "AGE", "QUEUE", "RESTARTS", ...(inCluster ? ["NODE"] : []), "DETAIL"],
    instances.map(({ id, release, phase, createdAt, queueRemaining, restarts, node, detail }) => [
      id.slice(id.lastIndexOf("/") + 1),
      release,
      phase,
      age(createdAt, now),
      queueRemaining,
      restarts,
      ...(inCluster ? [node] : []),
      firstLine(detail),
    ]),
  );
}

function gatewayTable(pods: readonly GatewayPodView[], now: number): string {
  return table(
    ["GATEWAY", "READY", "LEADS", "AGE", "RESTARTS", "NODE", "DETAIL"],
    pods.map(({ name, ready, leads, createdAt, restarts, node, detail }) => [
      name,
      ready ? "yes" : "no",
      leads ? "yes" : "no",
      age(createdAt, now),
      restarts,
      node,
      firstLine(detail),
    ]),
  );
}

const firstLine = (text: string) => text.split("\n", 1)[0]?.slice(0, 80) || null;

function workstationsText(workstations: readonly WorkstationView[]): string {
  const rows = workstations.map(({ name, declared, phase, idleStopped, queueRemaining, restarts, url, root }) => [
    name,
    phase === null ? `declared ${declared}` : idleStopped ? "stopped (idle)" : phase,
    queueRemaining,
    restarts,
    phase === "stopped" ? null : url,
    root,
  ]);
  return `Workstations:\n${indent(table(["WORKSTATION", "PHASE", "QUEUE", "RESTARTS", "URL", "ENVIRONMENT"], rows))}`;
}
