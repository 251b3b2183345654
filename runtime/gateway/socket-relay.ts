import { markMessage } from "./mark";

/** From where a message came, as far as it decides whether the client gets it. */
export interface MessageSource {
  readonly instance: string;
  /** Whether it is the instance that the client's new prompts go to: only its `status` describes what the client sees. */
  readonly primary: boolean;
  /** Whether a prompt is this client's. */
  readonly owns: (promptId: string) => boolean;
}

export type RelayDecision =
  /** To be passed on in this form. `ended`: it is the last message about this prompt. */
  | { readonly kind: "pass"; readonly text: string; readonly ended: string | null; readonly isExecuting: boolean }
  /** The queue's state; the first one on a connection also carries the `sid`. */
  | { readonly kind: "status"; readonly text: string }
  /** The answer to the client's own `feature_flags`. */
  | { readonly kind: "features"; readonly text: string }
  | { readonly kind: "drop" };

/** Decides what becomes of a text message of an instance. */
export function relayText(text: string, { instance, primary, owns }: MessageSource): RelayDecision {
  const message = parseMessage(text);
  if (message === null) return { kind: "pass", text, ended: null, isExecuting: false };
  const { type, data } = message;
  if (type === "status") return { kind: "status", text };
  if (type === "feature_flags") return { kind: "features", text };
  const promptId = typeof data.prompt_id === "string" ? data.prompt_id : null;
  // A prompt without a client is reported to everybody; of an instance that is not the client's own, it says nothing to it.
  if (promptId !== null && !primary && !owns(promptId)) return { kind: "drop" };
  const isExecuting = type === "executing";
  const ended = isExecuting && data.node === null ? promptId : null;
  return { kind: "pass", text: markMessage(text, instance), ended, isExecuting };
}

/** Whether a client's message is the announcement of its features, which ComfyUI takes as the first message only. */
export function isFeatureFlags(text: string): boolean {
  return parseMessage(text)?.type === "feature_flags";
}

/** A `status` message as a connection's first one: with the client's id. */
export function statusWithId(status: string, clientId: string): string {
  const data = parseMessage(status)?.data ?? { status: { exec_info: { queue_remaining: 0 } } };
  return JSON.stringify({ type: "status", data: { ...data, sid: clientId } });
}

interface Message {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

function parseMessage(text: string): Message | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Python writes NaN where a node reports one; such a message is passed on as it is.
    return null;
  }
  if (typeof value !== "object" || value === null || !("type" in value) || typeof value.type !== "string") return null;
  const data = "data" in value && typeof value.data === "object" && value.data !== null ? value.data : {};
  return { type: value.type, data: data as Readonly<Record<string, unknown>> };
}
