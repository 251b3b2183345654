import { ask, UnansweredError } from "./ask";
import type { Instance } from "./instance";
import { elements, memberText, stringOf } from "./json-text";

/** One prompt in an instance's queue. */
export interface QueuedPrompt {
  readonly id: string;
  readonly number: number;
  readonly running: boolean;
  /** The item as the instance wrote it. */
  readonly text: string;
}

/** Milliseconds for the cheapest of all answers. */
const lengthTimeout = 3_000;

/** Running plus waiting prompts, or null when the instance does not answer. */
export async function askQueueLength(instance: Instance): Promise<number | null> {
  try {
    const { status, body } = await ask(instance, { path: "/prompt", timeout: lengthTimeout });
    const info = status === 200 ? memberText(body.toString("utf8"), "exec_info") : null;
    const remaining = Number(info === null ? Number.NaN : memberText(info, "queue_remaining"));
    return Number.isInteger(remaining) ? remaining : null;
  } catch (error) {
    if (error instanceof UnansweredError || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Milliseconds of silence; a native call that holds the interpreter's lock stops every answer for seconds. */
const timeout = 15_000;

/** What an instance runs and has waiting. Throws an UnansweredError, or an Error when the answer is not a queue. */
export async function lookAtQueue(instance: Instance): Promise<readonly QueuedPrompt[]> {
  const { status, body } = await ask(instance, { path: "/queue", timeout });
  if (status !== 200) throw new Error(`${instance.id} answered GET /queue with ${status}`);
  const text = body.toString("utf8");
  return ["queue_running", "queue_pending"].flatMap((key) => {
    const list = memberText(text, key) ?? "[]";
    return elements(list).map(({ start, end }) => {
      const item = list.slice(start, end);
      const [number, id] = elements(item).map((span) => item.slice(span.start, span.end));
      return { id: stringOf(id ?? null) ?? "", number: Number(number), running: key === "queue_running", text: item };
    });
  });
}

/** The history record of a prompt as the instance wrote it, or null while (or when) it has none. Throws as above. */
export async function lookAtHistory(instance: Instance, id: string): Promise<string | null> {
  const { status, body } = await ask(instance, { path: `/history/${encodeURIComponent(id)}`, timeout });
  if (status !== 200) throw new Error(`${instance.id} answered GET /history/${id} with ${status}`);
  return memberText(body.toString("utf8"), id);
}

/** Whether an instance has a prompt: in its queue (with its number), or ended. Null when it has not. Throws as above. */
export async function findPrompt(instance: Instance, id: string): Promise<{ readonly number: number } | null> {
  // In this order: a prompt that ends between the two looks is found by the second.
  const queued = (await lookAtQueue(instance)).find((prompt) => prompt.id === id);
  if (queued !== undefined) return { number: queued.number };
  const record = await lookAtHistory(instance, id);
  return record === null ? null : { number: numberOf(record) };
}

function numberOf(record: string): number {
  const prompt = memberText(record, "prompt") ?? "[]";
  const [first] = elements(prompt);
  return first === undefined ? 0 : Number(prompt.slice(first.start, first.end)) || 0;
}
