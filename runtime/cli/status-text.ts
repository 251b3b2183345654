import type { InstanceStatus, Release } from "../supervisor";
import { table } from "./output";
import { hasEnded, type PlatformView, type ServiceView, stackName, type WorkstationView } from "./platform-view";
import { age, indent, shortId } from "./text";

/** A platform's state for a person. */
export function statusText(view: PlatformView, problems: readonly string[], now: number): string {
  const { supervisor, directory, services, workstations } = view;
  const head =
    supervisor === null
      ? `Nothing runs in ${directory}: no supervisor answers. Its records say:`
      : `${directory}: supervisor ${supervisor.pid}, for ${age(supervisor.startedAt, now)}`;
  return [
    head,
    ...services.map((service) => serviceText(service, now)),
    ...(workstations.length > 0 ? [workstationsText(workstations)] : []),
    problems.length === 0 ? "Healthy." : `Not healthy:\n${indent(problems.join("\n"))}`,
  ].join("\n\n");
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

function instancesTable(instances: readonly InstanceStatus[], now: number): string {
  return table(
    ["INSTANCE", "RELEASE", "PHASE", "AGE", "QUEUE", "RESTARTS", "DETAIL"],
    instances.map((instance) => [
      instance.index,
      instance.release,
      instance.phase,
      age(instance.createdAt, now),
      instance.queueRemaining,
      instance.restarts,
      instance.detail.split("\n", 1)[0]?.slice(0, 80) || null,
    ]),
  );
}

function workstationsText(workstations: readonly WorkstationView[]): string {
  const rows = workstations.map(({ name, declared, phase, queueRemaining, restarts, url, root }) => [
    name,
    phase ?? `declared ${declared}`,
    queueRemaining,
    restarts,
    phase === "stopped" ? null : url,
    root,
  ]);
  return `Workstations:\n${indent(table(["WORKSTATION", "PHASE", "QUEUE", "RESTARTS", "URL", "ENVIRONMENT"], rows))}`;
}
