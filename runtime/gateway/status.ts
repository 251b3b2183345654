import type { Fleet } from "./fleet";
import type { PromptLedger } from "./prompt-ledger";
import type { GatewayStatus } from "./targets";

/** What the supervisor steers by. */
export function gatewayStatus(fleet: Fleet, ledger: PromptLedger, openSockets: number): GatewayStatus {
  return {
    protocol: 1,
    pid: process.pid,
    generation: fleet.generation,
    serving: fleet.serving,
    openSockets,
    instances: fleet.all().map((instance) => {
      const { id, state, inFlight, queueRemaining } = instance;
      const needed = inFlight > 0 || queueRemaining !== 0 || ledger.heldBy(instance).length > 0;
      return { id, state, inFlight, queueRemaining, drained: state === "draining" && !needed };
    }),
  };
}
