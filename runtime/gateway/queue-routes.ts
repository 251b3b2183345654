import { sendEmpty, sendJson } from "./answers";
import { ask } from "./ask";
import { readBody } from "./body";
import type { Exchange } from "./exchange";
import type { Instance } from "./instance";
import type { GatewayParts } from "./parts";
import { askQueueLength, lookAtQueue } from "./queue-look";

/** `GET /prompt`: the sum over all instances that a client sees; of one that does not answer, what it was last known to have. */
export async function getQueueLength({ response, visitor }: Exchange, { fleet }: GatewayParts): Promise<void> {
  const lengths = await Promise.all(
    fleet.visible(visitor.release).map(async (instance) => (await askQueueLength(instance)) ?? instance.load),
  );
  const remaining = lengths.reduce((sum, length) => sum + length, 0);
  sendJson(response, JSON.stringify({ exec_info: { queue_remaining: remaining } }));
}

/** `GET /queue`: the queues of all instances that a client sees, one after the other. */
export async function getQueue({ response, visitor }: Exchange, { fleet, log }: GatewayParts): Promise<void> {
  const queues = await Promise.all(
    fleet.visible(visitor.release).map((instance) =>
      lookAtQueue(instance).catch((error: Error) => {
        log(`a queue is shown without ${instance.id}: ${error.message}`);
        return [];
      }),
    ),
  );
  const items = queues.flat();
  const list = (running: boolean) =>
    items
      .filter((item) => item.running === running)
      .map(({ text }) => text)
      .join(", ");
  sendJson(response, `{"queue_running": [${list(true)}], "queue_pending": [${list(false)}]}`);
}

/**
 * `POST /queue`: `delete` goes to the instances that have the prompts. `clear` removes what the client itself has waiting,
 * where it is known to have prompts; else, as with a single ComfyUI, what everybody has.
 */
export async function postQueue(exchange: Exchange, parts: GatewayParts): Promise<void> {
  const { request, response, clients, visitor } = exchange;
  const body = (await readBody(request, parts.settings().maximumBodySize)).toString("utf8");
  const { clear, ids } = idsOf(body);
  const { ledger, fleet } = parts;
  if (clear) {
    const own = ledger.waitingOf(clients);
    for (const entry of own.length > 0 ? own : ledger.all()) entry.removed = true;
    if (own.length > 0) {
      const ownIds = own.map(({ id }) => id);
      await broadcast(ownInstances(ownIds, exchange, parts), "/queue", JSON.stringify({ delete: ownIds }));
    } else await broadcast(fleet.visible(visitor.release), "/queue", JSON.stringify({ clear: true }));
  }
  if (ids.length > 0) {
    for (const id of ids) {
      const entry = ledger.get(id);
      if (entry !== undefined) entry.removed = true;
    }
    await broadcast(ownInstances(ids, exchange, parts), "/queue", JSON.stringify({ delete: ids }));
  }
  sendEmpty(response);
}

/**
 * `POST /interrupt`: with a `prompt_id`, on the instance that has it. Without: what the client itself runs, where it is known
 * to have prompts; else, as with a single ComfyUI, whatever runs.
 */
export async function postInterrupt(exchange: Exchange, parts: GatewayParts): Promise<void> {
  const { request, response, clients, visitor } = exchange;
  const body = (await readBody(request, parts.settings().maximumBodySize)).toString("utf8");
  const promptId = promptIdOf(body);
  const own = parts.ledger.waitingOf(clients);
  if (promptId !== null) {
    await broadcast(ownInstances([promptId], exchange, parts), "/interrupt", JSON.stringify({ prompt_id: promptId }));
  } else if (own.length > 0) {
    // An interrupt with the id of a prompt that does not run has no effect.
    for (const { id } of own) {
      await broadcast(ownInstances([id], exchange, parts), "/interrupt", JSON.stringify({ prompt_id: id }));
    }
  } else await broadcast(parts.fleet.visible(visitor.release), "/interrupt", "");
  sendEmpty(response);
}

/** The instances that have the prompts; all that the client sees where one of them is unknown. */
export function ownInstances(
  ids: readonly string[],
  { visitor }: Exchange,
  { fleet, ledger, spool }: GatewayParts,
): readonly Instance[] {
  const holders = ids.map((id) => fleet.get(ledger.get(id)?.instance.id ?? spool.results.get(id)?.instance ?? ""));
  if (holders.includes(undefined)) return fleet.visible(visitor.release);
  return [...new Set(holders)].filter((instance) => instance !== undefined);
}

/** Sends the same to several instances. One that does not answer has nothing that could be changed any more. */
export async function broadcast(instances: readonly Instance[], path: string, body: string): Promise<void> {
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  await Promise.allSettled(
    instances.map((instance) => ask(instance, { method: "POST", path, headers, body: Buffer.from(body) })),
  );
}

/** What `POST /queue` and `POST /history` ask for. What is no JSON asks for nothing. */
export function idsOf(body: string): { readonly clear: boolean; readonly ids: readonly string[] } {
  const value = parsed(body);
  const ids = Array.isArray(value.delete) ? value.delete.filter((id) => typeof id === "string") : [];
  return { clear: value.clear === true, ids };
}

function promptIdOf(body: string): string | null {
  const id = parsed(body).prompt_id;
  return typeof id === "string" && id !== "" ? id : null;
}

function parsed(body: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
