import type { InstanceStatus, ServiceState, SupervisorClient } from "../runtime/supervisor";
import { waitFor } from "../runtime/waiting";
import type { Context } from "./context";

/** Milliseconds between two looks at the instances. */
const interval = 250;
/** Milliseconds by which a drain may outlast its deadline until the supervisor has acted on it. */
const drainMargin = 60_000;

export function instancesOf({ instances }: ServiceState, release: string): readonly InstanceStatus[] {
  return instances.filter((instance) => instance.release === release);
}

/** Whether an instance only finishes what it has. */
export const isGoing = ({ phase }: InstanceStatus): boolean => phase === "draining" || phase === "stopping";

/** Waits until no more than `count` instances are left; fails when the supervisor gave a drain up. */
export async function untilDrained(
  supervisor: SupervisorClient,
  service: string,
  release: string,
  count: number,
  { progress, signal }: Context,
): Promise<void> {
  let going: readonly InstanceStatus[] = [];
  const { settings } = await requiredService(supervisor, service);
  await waitFor({
    what: `instances of ${release} to finish their work`,
    deadline: settings.drain.deadline + drainMargin,
    interval,
    progress,
    signal,
    seen: () => going.map(({ id, phase, queueRemaining }) => `${id} ${phase}, ${queueText(queueRemaining)}`).join("; "),
    look: async () => {
      const state = await requiredService(supervisor, service);
      const instances = instancesOf(state, release);
      const refused = state.releases.find(({ id }) => id === release)?.drain?.refused;
      if (refused) throw new Error(drainRefused(release, refused.message));
      going = instances.filter(isGoing);
      return instances.length <= count ? true : undefined;
    },
  });
  if (count === 0) progress(`no instance of ${release} is left`);
}

function drainRefused(release: string, reason: string): string {
  return `${reason}. The instances of ${release} stay and finish their work; the next pulumi up asks again (drain.onDeadline: "stop" would end them)`;
}

/** A service that has to be there. */
export async function requiredService(supervisor: SupervisorClient, service: string): Promise<ServiceState> {
  const state = await supervisor.service(service);
  if (state === null) throw new Error(`the platform has no service ${service} any more`);
  return state;
}

const queueText = (remaining: number | null) => (remaining === null ? "not answering" : `${remaining} in its queue`);
