import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { sendAnswer, sendError } from "./answers";
import { type Answer, ask, UnansweredError } from "./ask";
import { decodeBody, readBody } from "./body";
import { clientKey, type Exchange } from "./exchange";
import type { Instance } from "./instance";
import { members, memberText, stringOf, withMember } from "./json-text";
import type { GatewayParts } from "./parts";
import type { PromptEntry } from "./prompt-ledger";
import { findPrompt } from "./queue-look";
import { findInstance, noInstance } from "./select";

/** Most bytes of a prompt's id: three times as many must fit into the path of a request, of which ComfyUI reads 8,190. */
const longestId = 1_024;

/** What was asked for, as far as the gateway needs to know it. */
interface Submission {
  readonly promptId: string;
  readonly clientId: string | null;
  /** The request with its `prompt_id`. */
  readonly text: string;
}

type Outcome =
  | { readonly kind: "answered"; readonly answer: Answer; readonly accepted: boolean }
  /** The instance has not got the prompt and will not run it. */
  | { readonly kind: "failed"; readonly reason: string }
  /** Nobody can say whether it will run. */
  | { readonly kind: "unclear"; readonly reason: string };

/** `POST /prompt`: one ready instance of the serving release gets it, exactly once. */
export async function submitPrompt(exchange: Exchange, parts: GatewayParts): Promise<void> {
  const { request, response, visitor, signal } = exchange;
  const maximum = parts.settings().maximumBodySize;
  const body = decodeBody(request, await readBody(request, maximum), maximum);
  const submission = readSubmission(body);
  if (submission !== null && !isUsableId(submission.promptId)) {
    const message = `prompt_id must be 1 to ${longestId} bytes of well-formed Unicode without braces`;
    return sendError(response, 400, "invalid_prompt_id", message);
  }
  const clients = [...(submission?.clientId ? [clientKey(submission.clientId)] : []), ...exchange.clients];
  const excluded = new Set<Instance>();
  const deadline = performance.now() + parts.holdTimeout;
  for (;;) {
    const instance = await findInstance(parts, { ...exchange, clients }, { excluded, deadline });
    if (signal.aborted) return;
    if (instance === null) return noInstance(response, parts, visitor.release);
    parts.beforePrompt();
    const end = instance.beginSubmission();
    let accepted = false;
    try {
      const outcome = await attempt(instance, submission, body, clients, exchange, parts);
      if (outcome.kind === "answered") {
        accepted = outcome.accepted;
        return sendAnswer(response, outcome.answer);
      }
      if (outcome.kind === "unclear") return sendError(response, 504, "prompt_state_unclear", outcome.reason);
      parts.metrics.retries.inc();
      parts.log(`prompt ${submission?.promptId ?? "without a form"} goes to another instance: ${outcome.reason}`);
      excluded.add(instance);
    } finally {
      end(accepted);
    }
  }
}

async function attempt(
  instance: Instance,
  submission: Submission | null,
  body: Buffer,
  clients: readonly string[],
  exchange: Exchange,
  parts: GatewayParts,
): Promise<Outcome> {
  const { ledger, spool, sessions, inputs, timeouts } = parts;
  if (submission === null) {
    // Whatever it is, the instance says what is wrong with it.
    try {
      return { kind: "answered", answer: await send(instance, exchange, body, timeouts.answer), accepted: false };
    } catch (error) {
      return { kind: "failed", reason: unanswered(error).message };
    }
  }
  const { promptId, clientId, text } = submission;
  // Sent again after it was lost: who asks for its result from now on, also after this gateway's end, is to wait for the new one.
  await spool.results.removeLoss(promptId);
  // Noted first: from here on the client's connection to the instance counts as needed.
  const entry = await ledger.submit({ id: promptId, clientId, clients, request: text }, instance);
  // It may have been found to be lost in between.
  await spool.results.removeLoss(promptId);
  try {
    const session = clientId === null ? undefined : sessions.get(clientId);
    await session?.connect(instance, timeouts.socket);
    await inputs.bring(instance, memberText(text, "prompt") ?? "");
  } catch (error) {
    await ledger.drop(entry);
    return { kind: "failed", reason: unanswered(error).message };
  }
  try {
    parts.beforePrompt();
  } catch (error) {
    await ledger.drop(entry);
    throw error;
  }
  try {
    const answer = await send(instance, exchange, Buffer.from(text), timeouts.answer);
    return await conclude(entry, answer, instance, exchange, parts);
  } catch (error) {
    if (!(error instanceof UnansweredError)) {
      // Whatever went wrong here, the prompt may be there.
      ledger.accept(entry, null);
      throw error;
    }
    if (error.reached) return await clarify(entry, error, instance, exchange, parts);
    await ledger.drop(entry);
    return { kind: "failed", reason: error.message };
  }
}

async function conclude(
  entry: PromptEntry,
  answer: Answer,
  instance: Instance,
  { visitor }: Exchange,
  { ledger, fleet, metrics }: GatewayParts,
): Promise<Outcome> {
  const accepted = answer.status === 200;
  if (accepted) {
    ledger.accept(entry, numberIn(answer.body.toString("utf8")));
    if (visitor.release === null) fleet.noteServed(instance.release);
    metrics.prompts.inc({ release: instance.release, instance: instance.id });
  } else await ledger.drop(entry);
  return { kind: "answered", answer, accepted };
}

/** The request was sent but not answered: asks the instance what became of it, and only then lets it go elsewhere. */
async function clarify(
  entry: PromptEntry,
  failure: UnansweredError,
  instance: Instance,
  exchange: Exchange,
  parts: GatewayParts,
): Promise<Outcome> {
  const deadline = performance.now() + parts.timeouts.clarify;
  for (let absent = 0; ; ) {
    const left = deadline - performance.now();
    if (left <= 0) break;
    try {
      const found = await findPrompt(instance, entry.id, left);
      if (found !== null) {
        const body = { prompt_id: entry.id, number: found.number, node_errors: {} };
        const answer = { status: 200, headers: { "content-type": "application/json; charset=utf-8" } };
        return await conclude(entry, { ...answer, body: Buffer.from(JSON.stringify(body)) }, instance, exchange, parts);
      }
      // It may still be reading the request: absent twice, with time between, is absent.
      absent += 1;
      if (absent === 2) {
        await parts.ledger.drop(entry);
        return { kind: "failed", reason: `${failure.message}; it does not have the prompt` };
      }
    } catch (error) {
      // An answer that makes no sense leaves it as open as none.
      if (error instanceof UnansweredError && error.refused) {
        // Its process is gone, and its queue with it.
        await parts.ledger.drop(entry);
        return { kind: "failed", reason: failure.message };
      }
    }
    await delay(500);
  }
  // It may have it: its result is collected, or its loss reported, as with every other prompt there.
  parts.ledger.accept(entry, null);
  return { kind: "unclear", reason: `${failure.message}; whether prompt ${entry.id} runs will be seen in its history` };
}

function send(instance: Instance, { request }: Exchange, body: Buffer, timeout: number): Promise<Answer> {
  const {
    "content-length": _length,
    // The answer is read here.
    "accept-encoding": _accepted,
    "transfer-encoding": _encoding,
    expect: _expect,
    host: _host,
    ...headers
  } = request.headers;
  return ask(instance, {
    method: "POST",
    path: request.url ?? "/prompt",
    headers: { ...headers, "content-length": body.length },
    body,
    timeout,
  });
}

/** Chooses the prompt's id where the client did not; null when the body is no JSON object. */
function readSubmission(body: Buffer): Submission | null {
  const text = body.toString("utf8");
  try {
    members(text);
  } catch {
    return null;
  }
  const chosen = stringOf(memberText(text, "prompt_id"));
  const promptId = chosen ?? randomUUID();
  return {
    promptId,
    clientId: stringOf(memberText(text, "client_id")),
    text: chosen === null ? withMember(text, "prompt_id", promptId) : text,
  };
}

/** Whether ComfyUI can be asked for the prompt: braces do not match its route of `/history/{prompt_id}`. */
function isUsableId(id: string): boolean {
  return id !== "" && !/[{}]/.test(id) && !/\p{Surrogate}/u.test(id) && Buffer.byteLength(id) <= longestId;
}

function numberIn(answer: string): number | null {
  try {
    const number = Number(memberText(answer, "number") ?? Number.NaN);
    return Number.isFinite(number) ? number : null;
  } catch {
    return null;
  }
}

function unanswered(error: unknown): UnansweredError {
  if (error instanceof UnansweredError) return error;
  throw error;
}
