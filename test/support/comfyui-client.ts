import WebSocket from "ws";
import { waitFor } from "../../runtime/waiting";

export interface Answer {
  readonly status: number;
  /** The content type, or null when the answer has none. */
  readonly type: string | null;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; throws when it is none. */
  readonly json: unknown;
}

/** A message of the server on a WebSocket. */
export interface Message {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Socket {
  /** All that came so far, in order. */
  readonly messages: readonly Message[];
  send(message: unknown): void;
  /** Waits for a message that fits, among those that came already too. */
  until(what: string, fits: (message: Message) => boolean): Promise<Message>;
  close(): Promise<void>;
  /** The close code. */
  readonly closed: Promise<number>;
}

const deadline = 30_000;

/** Sends one request; a body that is no string travels as JSON. */
export async function request(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers,
    ...(body === undefined
      ? {}
      : { body: typeof body === "string" || body instanceof FormData ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    headers: response.headers,
    text,
    get json() {
      return JSON.parse(text);
    },
  };
}

/** Posts a workflow and returns its prompt id; fails when it is refused. */
export async function submit(
  url: string,
  prompt: unknown,
  more: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const { status, text } = await request(url, "POST", "/prompt", { prompt, ...more });
  if (status !== 200) throw new Error(`the prompt was refused: ${text}`);
  return JSON.parse(text).prompt_id;
}

/** The entry of a prompt in the history, once it is there. */
export function finished(url: string, promptId: string): Promise<Record<string, unknown>> {
  return waitFor({
    what: `prompt ${promptId} in the history`,
    deadline,
    interval: 20,
    look: async () => {
      const history = (await request(url, "GET", `/history/${promptId}`)).json as Record<
        string,
        Record<string, unknown> | undefined
      >;
      return history[promptId];
    },
  });
}

/** Waits until a prompt is the one that runs. */
export async function running(url: string, promptId: string): Promise<void> {
  await waitFor({
    what: `prompt ${promptId} to run`,
    deadline,
    interval: 20,
    look: async () => {
      const queue = (await request(url, "GET", "/queue")).json as { queue_running: unknown[][] };
      return queue.queue_running.some((item) => item[1] === promptId) || undefined;
    },
  });
}

/** Waits until nothing runs and nothing waits. */
export async function idle(url: string): Promise<void> {
  await waitFor({
    what: "an empty queue",
    deadline,
    interval: 20,
    look: async () => {
      const answer = (await request(url, "GET", "/prompt")).json as { exec_info: { queue_remaining: number } };
      return answer.exec_info.queue_remaining === 0 || undefined;
    },
  });
}

/** Opens a WebSocket; without a client id the server chooses one. */
export async function openSocket(url: string, clientId?: string): Promise<Socket> {
  const query = clientId === undefined ? "" : `?clientId=${encodeURIComponent(clientId)}`;
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}/ws${query}`);
  const messages: Message[] = [];
  const waiting = new Set<() => void>();
  socket.on("message", (text) => {
    messages.push(JSON.parse(String(text)));
    for (const look of waiting) look();
  });
  const closed = new Promise<number>((resolve) => socket.once("close", resolve));
  socket.on("error", () => socket.terminate());
  await new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  return {
    messages,
    send: (message) => socket.send(JSON.stringify(message)),
    until: (what, fits) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = messages.find(fits);
          if (found === undefined) return;
          clearTimeout(timer);
          waiting.delete(look);
          resolve(found);
        };
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`no message: ${what}; came: ${JSON.stringify(messages.map(({ type }) => type))}`));
        }, deadline);
        waiting.add(look);
        look();
      }),
    close: async () => {
      socket.close();
      await closed;
    },
    closed,
  };
}
