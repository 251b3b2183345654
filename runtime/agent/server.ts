import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { setTimeout } from "node:timers/promises";

/** What requests are answered from. */
export interface Answers {
  readonly status: () => Promise<object>;
  readonly started: () => boolean;
  readonly ready: () => boolean;
  readonly live: () => boolean;
  /** Fulfilled when ComfyUI may be ended. */
  readonly drain: () => Promise<void>;
  /** A gateway needs nothing of the instance any more; false where it still has prompts. */
  readonly release: () => Promise<boolean>;
  /** A gateway still takes something from it. */
  readonly keep: () => void;
}

/** Milliseconds between two looks at what a held probe waits for. */
const interval = 100;
/** Seconds that a probe is held at most. */
const longestWait = 60;
/** Milliseconds for which a probe of what has just been so is not held: its failures count at once. */
const afterwards = 10_000;

type Route = (response: ServerResponse, wait: number) => void | Promise<void>;

/**
 * Answers a probe with what holds now; with `?wait=<seconds>`, when it does not hold yet, holds the request back until it does or the time
 * is over. The kubelet records an event for every failure, and after 25 of them drops a pod's other events, those that tell why it ended
 * among them: https://github.com/kubernetes/kubernetes/blob/v1.34.0/staging/src/k8s.io/client-go/tools/record/events_cache.go
 */
function probe(holds: () => boolean): Route {
  let lastHeld = Number.NEGATIVE_INFINITY;
  return async (response, wait) => {
    const until = performance.now() + wait;
    while (!holds() && !response.destroyed) {
      const now = performance.now();
      if (now >= until || now - lastHeld < afterwards) break;
      await setTimeout(Math.min(interval, until - now));
    }
    const held = holds();
    if (held) lastHeld = performance.now();
    state(response, held);
  };
}

/** Answers the kubelet's probes and hooks, and the gateway. `host`: all addresses when undefined. */
export async function serve(answers: Answers, port: number, host: string | undefined): Promise<Server> {
  const routes: Readonly<Record<string, Route>> = {
    "GET /started": probe(answers.started),
    "GET /ready": probe(answers.ready),
    "GET /live": (response) => state(response, answers.live()),
    "GET /status": async (response) => json(response, 200, await answers.status()),
    "GET /drain": async (response) => {
      await answers.drain();
      state(response, true);
    },
    "POST /released": async (response) => {
      if (await answers.release()) state(response, true);
      else json(response, 409, { error: "it still has prompts" });
    },
    "POST /needed": (response) => {
      answers.keep();
      state(response, true);
    },
  };
  const server = createServer((request, response) => {
    request.resume();
    const [path, query] = (request.url ?? "").split("?", 2);
    const route = routes[`${request.method === "HEAD" ? "GET" : request.method} ${path}`];
    if (route === undefined) {
      json(response, 404, { error: `there is no ${request.method} ${path}` });
      return;
    }
    Promise.resolve(route(response, waitIn(query))).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else json(response, 500, { error: error instanceof Error ? error.message : String(error) });
    });
  });
  server.listen(host === undefined ? { port } : { port, host });
  await once(server, "listening");
  return server;
}

/** Milliseconds of a query's `wait`, which has seconds. */
function waitIn(query: string | undefined): number {
  const seconds = Number(new URLSearchParams(query).get("wait") ?? 0);
  return seconds > 0 ? Math.min(seconds, longestWait) * 1000 : 0;
}

function state(response: ServerResponse, holds: boolean): void {
  json(response, holds ? 200 : 503, { ok: holds });
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
}
