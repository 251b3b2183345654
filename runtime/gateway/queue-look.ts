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
const longestSilence = 15_000;

/** An instance answered, with what is no queue or no history. */
export class UnusableAnswerError extends Error {
  override readonly name = "UnusableAnswerError";
  constructor(instance: Instance, path: string, reason: string) {
    super(`${instance.id} answered GET ${path} ${reason}`);
  }
}

/** What an instance runs and has waiting. Throws an UnansweredError or an UnusableAnswerError. */
export async function lookAtQueue(instance: Instance, timeout = longestSilence): Promise<readonly QueuedPrompt[]> {
  return look(instance, "/queue", timeout, (text) =>
    ["queue_running", "queue_pending"].flatMap((key) => {
      const list = memberText(text, key) ?? "[]";
      return elements(list).map(({ start, end }) => {
        const item = list.slice(start, end);
        const [number, id] = elements(item).map((span) => item.slice(span.start, span.end));
        return { id: stringOf(id ?? null) ?? "", number: Number(number), running: key === "queue_running", text: item };
      });
    }),
  );
}

/** The history record of a prompt as the instance wrote it, or null while (or when) it has none. Throws as above. */
export async function lookAtHistory(instance: Instance, id: string, timeout = longestSilence): Promise<string | null> {
  return look(instance, `/history/${encodeURIComponent(id)}`, timeout, (text) => memberText(text, id));
}

async function look<T>(instance: Instance, path: string, timeout: number, read: (text: string) => T): Promise<T> {
  const { status, body } = await ask(instance, { path, timeout });
  if (status !== 200) throw new UnusableAnswerError(instance, path, `with ${status}`);
  try {
    return read(body.toString("utf8"));
  } catch (error) {
    throw new UnusableAnswerError(instance, path, `with what cannot be read: ${(error as Error).message}`);
  }
}

/**
 * Whether an instance has a prompt: in its queue (with its number), or ended. Null when it has not. Throws as above.
 * @param timeout milliseconds of silence, for each of the two looks.
 */
export async function findPrompt(
  instance: Instance,
  id: string,
  timeout: number,
): Promise<{ readonly number: number } | null> {
  const most = Math.min(timeout, longestSilence);
  // In this order: a prompt that ends between the two looks is found by the second.
  const queued = (await lookAtQueue(instance, most)).find((prompt) => prompt.id === id);
  if (queued !== undefined) return { number: queued.number };
  const record = await lookAtHistory(instance, id, most);
  return record === null ? null : { number: numberOf(record) };
}

function numberOf(record: string): number {
  const prompt = memberText(record, "prompt") ?? "[]";
  const [first] = elements(prompt);
  return first === undefined ? 0 : Number(prompt.slice(first.start, first.end)) || 0;
}
