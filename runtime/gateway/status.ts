import type { Fleet } from "./fleet";
import type { Instance } from "./instance";
import type { PromptLedger } from "./prompt-ledger";
import type { GatewayStatus } from "./targets";

/**
 * What the supervisor steers by.
 * @param safe whether nothing of an instance that needs nothing any more would go with this gateway.
 */
export function gatewayStatus(
  fleet: Fleet,
  ledger: PromptLedger,
  openSockets: number,
  safe: (instance: Instance) => boolean = () => true,
): GatewayStatus {
  return {
    protocol: 1,
    pid: process.pid,
    generation: fleet.generation,
    serving: fleet.serving,
    openSockets,
    instances: fleet.all().map((instance) => {
      const { id, state, inFlight, queueRemaining } = instance;
      const drained = state === "draining" && !isNeeded(instance, ledger) && safe(instance);
      return { id, state, inFlight, queueRemaining, drained };
    }),
  };
}

/** Whether an instance has requests under way, a queue that is not known to be empty, or results that are not kept. */
function isNeeded(instance: Instance, ledger: PromptLedger): boolean {
  return instance.inFlight > 0 || instance.queueRemaining !== 0 || ledger.heldBy(instance).length > 0;
}
