import { randomUUID } from "node:crypto";
import WebSocket from "ws";

/**
 * What a client may have to complain of: a request that failed, by which it gives its prompt up; an accepted prompt that did not end
 * as it should; a socket that was closed.
 */
export type Complaint = "requests" | "prompts" | "sockets";

/** What clients of a service saw over a time. */
export interface Seen {
  /** Prompts that were accepted, ran and whose result was fetched. */
  readonly finished: number;
  /** Everything that was not as a client expects it, with its time. */
  readonly complaints: readonly string[];
  /** How many of them are of which kind. */
  readonly counts: Readonly<Record<Complaint, number>>;
  /** Releases that answered, by the text that their plugin returns. */
  readonly versions: ReadonlySet<string>;
}

export interface Traffic {
  readonly seen: Seen;
  /** Lets every client finish what it has begun, and says what all of them saw. */
  stop(): Promise<Seen>;
}

export interface TrafficOptions {
  readonly url: string;
  readonly clients: number;
  /** The workflow of a client's next prompt. */
  readonly workflow: (client: number, prompt: number) => unknown;
  /** Reads the version out of the outputs of a prompt. */
  readonly versionIn: (outputs: unknown) => string | undefined;
  /** Milliseconds after which a prompt counts as lost. */
  readonly patience?: number;
}

/**
 * Clients that behave as browsers do: each keeps one WebSocket with its client id open all the time, posts a prompt, waits for
 * its end on the socket, polls the history meanwhile, and fetches the result. One whose socket was closed opens another one.
 */
export function startTraffic({ url, clients, workflow, versionIn, patience = 60_000 }: TrafficOptions): Traffic {
  const complaints: string[] = [];
  const versions = new Set<string>();
  let finished = 0;
  let stopping = false;
  const counts = { requests: 0, prompts: 0, sockets: 0 };
  const complain = (kind: Complaint, text: string) => {
    counts[kind]++;
    complaints.push(`${new Date().toISOString()} ${text}`);
  };

  async function ask(path: string, init: RequestInit = {}): Promise<unknown> {
    const what = `${init.method ?? "GET"} ${path}`;
    let response: Response;
    let text: string;
    try {
      response = await fetch(url + path, { ...init, signal: AbortSignal.timeout(patience) });
      text = await response.text();
    } catch (error) {
      throw new RequestError(`${what} failed: ${(error as Error).message}`);
    }
    if (response.status !== 200) throw new RequestError(`${what} answered ${response.status}: ${text.slice(0, 300)}`);
    return JSON.parse(text);
  }

  async function client(number: number): Promise<void> {
    const id = randomUUID();
    const ended = new Map<string, string>();
    let closing = false;
    /** Grows when the socket is closed, and when there is one again: what was told between the two was not heard. */
    let gaps = 0;
    let socket: WebSocket | undefined;
    const connect = () => {
      const opened = new WebSocket(`${url.replace(/^http/, "ws")}/ws?clientId=${id}`);
      socket = opened;
      let isOpen = false;
      opened.on("open", () => {
        isOpen = true;
        gaps++;
      });
      opened.on("close", (code) => {
        if (closing) return;
        gaps++;
        if (isOpen) complain("sockets", `client ${number}: its socket was closed with ${code}`);
        setTimeout(() => !closing && connect(), reconnectPause);
      });
      // A close follows; how a new connection fails is no news after it.
      opened.on("error", () => {});
      opened.on("message", (data, isBinary) => {
        if (isBinary) return;
        const { type, data: content } = JSON.parse(String(data));
        if (["execution_success", "execution_error", "execution_interrupted"].includes(type)) {
          ended.set(content.prompt_id, type);
        }
      });
      return opened;
    };
    try {
      await new Promise((resolve, reject) => connect().once("open", resolve).once("error", reject));
    } catch (error) {
      closing = true;
      throw error;
    }
    for (let prompt = 0; !stopping; prompt++) {
      try {
        await one(number, prompt, id, ended, () => gaps);
        finished++;
      } catch (error) {
        const kind = error instanceof RequestError ? "requests" : "prompts";
        complain(kind, `client ${number}, prompt ${prompt}: ${(error as Error).message}`);
      }
    }
    closing = true;
    socket?.close();
  }

  async function one(
    number: number,
    prompt: number,
    id: string,
    ended: Map<string, string>,
    gaps: () => number,
  ): Promise<void> {
    const gapsBefore = gaps();
    const body = JSON.stringify({ prompt: workflow(number, prompt), client_id: id });
    const headers = { "content-type": "application/json" };
    const { prompt_id } = (await ask("/prompt", { method: "POST", headers, body })) as { prompt_id: string };
    const deadline = performance.now() + patience;
    for (;;) {
      const entry = ((await ask(`/history/${prompt_id}`)) as Record<string, HistoryEntry | undefined>)[prompt_id];
      // What a closed socket kept from the client is complained of already.
      const message = ended.get(prompt_id) ?? (gaps() > gapsBefore ? "execution_success" : undefined);
      if (entry !== undefined && message !== undefined) {
        if (message !== "execution_success" || entry.status?.status_str !== "success") {
          throw new Error(`${prompt_id} ended with ${message} and ${JSON.stringify(entry.status).slice(0, 300)}`);
        }
        const version = versionIn(entry.outputs);
        if (version === undefined) throw new Error(`${prompt_id} has no result: ${JSON.stringify(entry.outputs)}`);
        versions.add(version);
        return;
      }
      if (performance.now() > deadline) {
        throw new Error(
          `${prompt_id} was lost: ${entry === undefined ? "not in the history" : "in the history"}, ${message ?? "no message of its end"}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  const running = Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  running.catch((error) => complain("sockets", `a client could not start: ${error.message}`));
  const seen = {
    get finished() {
      return finished;
    },
    complaints,
    counts,
    versions,
  };
  return {
    seen,
    stop: async () => {
      stopping = true;
      await running;
      return seen;
    },
  };
}

/** Milliseconds after which ComfyUI's own page opens another socket. */
const reconnectPause = 300;

class RequestError extends Error {}

interface HistoryEntry {
  readonly outputs: unknown;
  readonly status?: { readonly status_str: string };
}
