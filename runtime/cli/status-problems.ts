import { count } from "./output";
import { type GatewayView, hasEnded, type PlatformView, type ServiceView, type WorkstationView } from "./platform-view";

/** What is not as it was declared, a sentence each; empty when the platform is healthy. */
export function findProblems(view: PlatformView): readonly string[] {
  const { services, workstations } = view;
  return view.kind === "local" && view.supervisor === null
    ? [...services.flatMap(problemsOfRecords), ...workstations.flatMap(problemsOfRecordedWorkstation)]
    : [...services.flatMap(problemsOfService), ...workstations.flatMap(problemsOfWorkstation)];
}

function problemsOfRecords({ name, serving, releases }: ServiceView): readonly string[] {
  const wanted = releases.reduce((sum, release) => sum + (hasEnded(release) ? 0 : release.count), 0);
  if (serving === null && wanted === 0) return [`service ${name} serves nothing`];
  return [`service ${name} should have ${count(wanted, "instance")}, and no supervisor runs`];
}

function problemsOfRecordedWorkstation({ name, declared }: WorkstationView): readonly string[] {
  return declared === "running" ? [`workstation ${name} should be running, and no supervisor runs`] : [];
}

function problemsOfService({ name, serving, gateway, releases, instances }: ServiceView): readonly string[] {
  const problems: string[] = [];
  if (gateway === null) problems.push(`service ${name} has no gateway`);
  else if (gateway.running === false) problems.push(`the gateway of service ${name} is down`);
  else problems.push(...problemsOfGatewayPods(name, gateway));
  const release = releases.find(({ id }) => id === serving);
  if (serving === null) problems.push(`service ${name} serves nothing`);
  else if (release === undefined) problems.push(`service ${name} serves ${serving}, of which there is no record`);
  else {
    const proven = instances.filter((instance) => instance.release === serving && instance.phase === "proven").length;
    if (proven < release.count || proven === 0) {
      problems.push(`release ${serving} serves with ${proven} of ${count(release.count, "instance")}`);
    }
  }
  for (const instance of instances) {
    if (instance.phase === "failed") {
      problems.push(`instance ${instance.id} failed: ${instance.evidence?.reason ?? (instance.detail || "no reason")}`);
    }
  }
  for (const { id, drain } of releases) {
    if (drain?.refused) problems.push(`release ${id} did not drain: ${drain.refused.message}`);
  }
  return problems;
}

function problemsOfGatewayPods(name: string, { wanted = 0, pods }: GatewayView): readonly string[] {
  if (pods === undefined) return [];
  const ready = pods.filter((pod) => pod.ready).length;
  return [
    ...(ready < wanted
      ? [`${ready} of ${count(wanted, "gateway")} of service ${name} ${ready === 1 ? "is" : "are"} ready`]
      : []),
    ...(pods.some(({ leads }) => leads) ? [] : [`no gateway of service ${name} leads`]),
  ];
}

function problemsOfWorkstation({ name, phase, declared, detail, idleStopped }: WorkstationView): readonly string[] {
  if (declared === "running" && phase === "stopped" && idleStopped) return [];
  if (phase === "failed") return [`workstation ${name} failed: ${detail || "no reason"}`];
  if (declared === "running" && phase !== "running") {
    return [`workstation ${name} is declared running and is ${phase ?? "gone"}`];
  }
  return [];
}
