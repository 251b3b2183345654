import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";

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

/** Answers the kubelet's probes and hooks, and the gateway. `host`: all addresses when undefined. */
export async function serve(answers: Answers, port: number, host: string | undefined): Promise<Server> {
  const routes: Readonly<Record<string, (response: ServerResponse) => void | Promise<void>>> = {
    "GET /started": (response) => state(response, answers.started()),
    "GET /ready": (response) => state(response, answers.ready()),
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
    const path = (request.url ?? "").split("?", 1)[0];
    const route = routes[`${request.method === "HEAD" ? "GET" : request.method} ${path}`];
    if (route === undefined) {
      json(response, 404, { error: `there is no ${request.method} ${path}` });
      return;
    }
    Promise.resolve(route(response)).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else json(response, 500, { error: error instanceof Error ? error.message : String(error) });
    });
  });
  server.listen(host === undefined ? { port } : { port, host });
  await once(server, "listening");
  return server;
}

function state(response: ServerResponse, holds: boolean): void {
  json(response, holds ? 200 : 503, { ok: holds });
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
}
