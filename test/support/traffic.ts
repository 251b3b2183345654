import { randomUUID } from "node:crypto";
import WebSocket from "ws";

/** What clients of a service saw over a time. */
export interface Seen {
  /** Prompts that were accepted, ran and whose result was fetched. */
  readonly finished: number;
  /** Everything that was not as a client expects it, with its time. */
  readonly complaints: readonly string[];
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
 * its end on the socket, polls the history meanwhile, and fetches the result.
 */
export function startTraffic({ url, clients, workflow, versionIn, patience = 60_000 }: TrafficOptions): Traffic {
  const complaints: string[] = [];
  const versions = new Set<string>();
  let finished = 0;
  let stopping = false;
  const complain = (text: string) => complaints.push(`${new Date().toISOString()} ${text}`);

  async function getJson(path: string): Promise<unknown> {
    const response = await fetch(url + path);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`GET ${path} answered ${response.status}: ${text.slice(0, 300)}`);
    return JSON.parse(text);
  }

  async function client(number: number): Promise<void> {
    const id = randomUUID();
    const ended = new Map<string, string>();
    const socket = new WebSocket(`${url.replace(/^http/, "ws")}/ws?clientId=${id}`);
    await new Promise<void>((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    let closing = false;
    socket.on("close", (code) => {
      if (!closing) complain(`client ${number}: its socket was closed with ${code}`);
    });
    socket.on("error", (error) => complain(`client ${number}: ${error.message}`));
    socket.on("message", (data, isBinary) => {
      if (isBinary) return;
      const { type, data: content } = JSON.parse(String(data));
      if (["execution_success", "execution_error", "execution_interrupted"].includes(type)) {
        ended.set(content.prompt_id, type);
      }
    });
    for (let prompt = 0; !stopping; prompt++) {
      try {
        await one(number, prompt, id, ended);
        finished++;
      } catch (error) {
        complain(`client ${number}, prompt ${prompt}: ${(error as Error).message}`);
      }
    }
    closing = true;
    socket.close();
  }

  async function one(number: number, prompt: number, id: string, ended: Map<string, string>): Promise<void> {
    const response = await fetch(`${url}/prompt`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: workflow(number, prompt), client_id: id }),
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`POST /prompt answered ${response.status}: ${text.slice(0, 300)}`);
    const { prompt_id } = JSON.parse(text) as { prompt_id: string };
    const deadline = performance.now() + patience;
    for (;;) {
      const entry = ((await getJson(`/history/${prompt_id}`)) as Record<string, HistoryEntry | undefined>)[prompt_id];
      const message = ended.get(prompt_id);
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
  running.catch((error) => complain(`a client could not start: ${error.message}`));
  const seen = {
    get finished() {
      return finished;
    },
    complaints,
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

interface HistoryEntry {
  readonly outputs: unknown;
  readonly status?: { readonly status_str: string };
}
