import { sendEmpty, sendJson } from "./answers";
import { ask } from "./ask";
import { readBody } from "./body";
import { endOf } from "./end-of-record";
import type { Exchange } from "./exchange";
import type { Instance } from "./instance";
import { members } from "./json-text";
import { markRecord } from "./mark";
import type { GatewayParts } from "./parts";
import { lookAtHistory } from "./queue-look";
import { broadcast, idsOf, ownInstances } from "./queue-routes";

/** `GET /history/{id}`: from the spool, else from the instance that has the prompt, else from whichever has it. */
export async function getPromptHistory(id: string, { response }: Exchange, parts: GatewayParts): Promise<void> {
  const record = await findRecord(id, parts);
  // As ComfyUI answers for a prompt that is unknown, waits or runs.
  sendJson(response, record === null ? "{}" : `{${JSON.stringify(id)}: ${record}}`);
}

async function findRecord(id: string, { spool, ledger, fleet }: GatewayParts): Promise<string | null> {
  const kept = spool.results.get(id);
  const record = await spool.results.record(id);
  if (kept !== undefined && record !== null) return mark(record, kept.instance);
  const entry = ledger.get(id);
  if (entry?.record) return mark(entry.record, entry.instance.id);
  const holder = entry === undefined ? undefined : fleet.get(entry.instance.id);
  const asked = holder === undefined ? fleet.all() : [holder];
  const found = await Promise.all(
    asked.map(async (instance) => {
      const text = await orNull(lookAtHistory(instance, id));
      return text === null ? null : mark(text, instance.id);
    }),
  );
  return found.find((text) => text !== null) ?? null;
}

/** `GET /history`: of all instances that a client sees and of the spool, in the order in which the prompts ended. */
export async function getHistory({ response, query, visitor }: Exchange, parts: GatewayParts): Promise<void> {
  const { fleet, spool } = parts;
  const limit = integer(query.get("max_items"));
  const offset = integer(query.get("offset")) ?? -1;
  const instances = fleet.visible(visitor.release);
  const path = limit !== null && offset < 0 ? `/history?max_items=${limit}` : "/history";
  const records = new Map<string, string>();
  const lists = await Promise.all(instances.map((instance) => orNull(listRecords(instance, path))));
  for (const list of lists) for (const [id, record] of list ?? []) records.set(id, record);
  const kept = spool.results.all().filter((result) => visitor.release === null || isOf(result.instance, instances));
  const newest = limit !== null && offset < 0 ? kept.slice(Math.max(0, kept.length - limit)) : kept;
  for (const { promptId, instance } of newest) {
    const record = records.has(promptId) ? null : await spool.results.record(promptId);
    if (record !== null) records.set(promptId, mark(record, instance));
  }
  const ordered = [...records].sort(([, a], [, b]) => endOf(a) - endOf(b));
  const start = offset >= 0 ? offset : limit === null ? 0 : Math.max(0, ordered.length - limit);
  const page = ordered.slice(start, limit === null ? undefined : start + limit);
  sendJson(response, `{${page.map(([id, record]) => `${JSON.stringify(id)}: ${record}`).join(", ")}}`);
}

/**
 * `POST /history`: `delete` goes to the instances that have the prompts, and to the spool. `clear` removes the results of the
 * client where it is known to have some; else, as with a single ComfyUI, everybody's.
 */
export async function postHistory(exchange: Exchange, parts: GatewayParts): Promise<void> {
  const { request, response, clients, visitor } = exchange;
  const body = (await readBody(request, parts.settings().maximumBodySize)).toString("utf8");
  const { clear, ids } = idsOf(body);
  const { spool, fleet } = parts;
  const remove = async (id: string) => {
    const entry = parts.ledger.get(id);
    if (entry !== undefined) entry.removed = true;
    // One that runs or waits is not affected, as in ComfyUI.
    if (entry?.state === "ended") await parts.ledger.drop(entry);
    await spool.results.remove(id);
  };
  if (clear) {
    const own = spool.results.all().filter((result) => result.clients.some((key) => clients.includes(key)));
    if (own.length > 0) {
      const ownIds = own.map(({ promptId }) => promptId);
      for (const id of ownIds) await remove(id);
      await broadcast(fleet.visible(visitor.release), "/history", JSON.stringify({ delete: ownIds }));
    } else {
      for (const { promptId } of spool.results.all()) await remove(promptId);
      await broadcast(fleet.visible(visitor.release), "/history", JSON.stringify({ clear: true }));
    }
  }
  if (ids.length > 0) {
    const instances = ownInstances(ids, exchange, parts);
    for (const id of ids) await remove(id);
    await broadcast(instances, "/history", JSON.stringify({ delete: ids }));
  }
  sendEmpty(response);
}

async function listRecords(instance: Instance, path: string): Promise<readonly (readonly [string, string])[]> {
  const text = (await ask(instance, { path, timeout: 15_000 })).body.toString("utf8");
  return members(text).map(({ key, start, end }) => [key, mark(text.slice(start, end), instance.id)] as const);
}

/** A record that is not JSON as it is known is passed on as it is. */
function mark(record: string, instance: string): string {
  try {
    return markRecord(record, instance);
  } catch (error) {
    if (error instanceof SyntaxError) return record;
    throw error;
  }
}

function isOf(id: string, instances: readonly Instance[]): boolean {
  return instances.some((instance) => instance.id === id);
}

function integer(text: string | null): number | null {
  const value = Number.parseInt(text ?? "", 10);
  return Number.isNaN(value) ? null : value;
}

/** What an instance that does not answer has cannot be shown now; the others' is. */
async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch {
    return null;
  }
}
