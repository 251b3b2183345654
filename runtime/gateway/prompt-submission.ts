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

/** Milliseconds for a client's connection to the instance to stand before its prompt is sent there. */
const socketTimeout = 15_000;
/** Milliseconds of silence after a prompt was sent; validation takes milliseconds, a held interpreter lock seconds. */
const answerTimeout = 60_000;
/** Milliseconds for an instance to say whether it has a prompt whose request got no answer. */
const clarifyTimeout = 30_000;

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
  const clients = [...(submission?.clientId ? [clientKey(submission.clientId)] : []), ...exchange.clients];
  const excluded = new Set<Instance>();
  const deadline = performance.now() + parts.holdTimeout;
  for (;;) {
    const instance = await findInstance(parts, { ...exchange, clients }, { excluded, deadline });
    if (signal.aborted) return;
    if (instance === null) return noInstance(response, parts, visitor.release);
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
  if (submission === null) {
    // Whatever it is, the instance says what is wrong with it.
    try {
      return { kind: "answered", answer: await send(instance, exchange, body), accepted: false };
    } catch (error) {
      return { kind: "failed", reason: unanswered(error).message };
    }
  }
  const { promptId, clientId, text } = submission;
  const { ledger, sessions, inputs } = parts;
  // Noted first: from here on the client's connection to the instance counts as needed.
  const entry = await ledger.submit({ id: promptId, clientId, clients, request: text }, instance);
  try {
    const session = clientId === null ? undefined : sessions.get(clientId);
    await session?.connect(instance, socketTimeout);
    await inputs.bring(instance, memberText(text, "prompt") ?? "");
  } catch (error) {
    await ledger.drop(entry);
    return { kind: "failed", reason: unanswered(error).message };
  }
  try {
    const answer = await send(instance, exchange, Buffer.from(text));
    return await conclude(entry, answer, instance, exchange, parts);
  } catch (error) {
    const failure = unanswered(error);
    if (!failure.reached) {
      await ledger.drop(entry);
      return { kind: "failed", reason: failure.message };
    }
    return await clarify(entry, failure, instance, exchange, parts);
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
  const deadline = performance.now() + clarifyTimeout;
  for (let absent = 0; performance.now() < deadline; ) {
    try {
      const found = await findPrompt(instance, entry.id);
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
      if (!(error instanceof UnansweredError)) throw error;
      if (!error.reached) {
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

function send(instance: Instance, { request }: Exchange, body: Buffer): Promise<Answer> {
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
    timeout: answerTimeout,
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
