import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { sendError } from "./answers";
import type { Exchange } from "./exchange";
import type { Fleet } from "./fleet";
import type { Instance } from "./instance";
import type { GatewayParts } from "./parts";
import { chooseInstance } from "./routing";

/** Milliseconds before instances that failed a request are tried again for it. */
const pauseBeforeRetry = 500;

export interface Attempts {
  /** Instances that failed already; emptied before they are tried again. */
  readonly excluded: Set<Instance>;
  /** On the clock of `performance.now()`: until then a request is held while no instance is ready. */
  readonly deadline: number;
}

/** The instance for a client's request, waiting while there is none. Null at the deadline, or when the client went. */
export async function findInstance(
  { fleet, affinity, metrics }: Pick<GatewayParts, "fleet" | "affinity" | "metrics">,
  { clients, visitor, signal }: Pick<Exchange, "clients" | "visitor" | "signal">,
  { excluded, deadline }: Attempts,
): Promise<Instance | null> {
  for (;;) {
    if (signal.aborted) return null;
    const release = visitor.release ?? fleet.serving;
    const instance = chooseInstance({
      instances: fleet.all(),
      release,
      preferred: affinity.find(clients),
      excluded,
    });
    if (instance !== null) {
      instance.noteChosen();
      // What the deployer tries on a candidate says nothing about where the client belongs.
      if (visitor.release === null) affinity.remember(clients, instance.id);
      return instance;
    }
    const left = deadline - performance.now();
    if (left <= 0) return null;
    if (fleet.hasReady(release)) {
      await delay(Math.min(pauseBeforeRetry, left));
      excluded.clear();
    } else {
      metrics.held += 1;
      await fleet.nextChange(left, signal);
      metrics.held -= 1;
    }
  }
}

/** Answers that no instance is there, and why. */
export function noInstance(
  response: ServerResponse,
  { fleet }: { readonly fleet: Fleet },
  wanted: string | null,
): void {
  const release = wanted ?? fleet.serving;
  const message =
    release === null
      ? "this service has no serving release yet"
      : fleet.hasReady(release)
        ? `no instance of release ${release} could be reached`
        : `release ${release} has no ready instance at the moment`;
  sendError(response, 503, "no_ready_instance", message, 5);
}
