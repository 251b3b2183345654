import { z } from "zod";
import { deployerTokenHeader, type GatewayStatus } from "../gateway/targets";

/** Milliseconds that a gateway gets to answer about itself. */
const timeout = 2_000;

const answer = z.object({
  protocol: z.literal(1),
  pid: z.int(),
  generation: z.int(),
  serving: z.string().nullable(),
  openSockets: z.int(),
  instances: z.array(
    z.object({
      id: z.string(),
      state: z.enum(["ready", "draining"]),
      inFlight: z.int(),
      queueRemaining: z.int().nullable(),
      drained: z.boolean(),
    }),
  ),
});

/** What a gateway says about itself, or null when it does not answer. */
export async function askGateway(url: string, token: string): Promise<GatewayStatus | null> {
  try {
    const response = await fetch(`${url}/_gateway/status`, {
      headers: { [deployerTokenHeader]: token },
      signal: AbortSignal.timeout(timeout),
    });
    return response.ok ? answer.parse(await response.json()) : null;
  } catch {
    return null;
  }
}
