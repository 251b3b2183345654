import { rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type Journal, reasonOf } from "./journal";
import type { Refusal } from "./protocol";
import { RefusedError } from "./refusal";
import { answer, type RouteContext } from "./routes";

/** Bytes of the largest request; a smoke workflow is the largest part of one. */
const largestRequest = 16 * 2 ** 20;

/** The control socket. Counts its connections, so that the supervisor knows when nobody needs it. */
export class ControlServer {
  private readonly server: Server;
  private connections = 0;
  private lastUse = performance.now();

  constructor(
    private readonly context: RouteContext,
    private readonly journal: Journal,
  ) {
    this.server = createServer((request, response) => void this.respond(request, response));
    this.server.on("connection", (socket) => {
      this.connections++;
      socket.once("close", () => {
        this.connections--;
        this.lastUse = performance.now();
      });
    });
  }

  /** Milliseconds since anybody was connected. */
  get idleFor(): number {
    return this.connections > 0 ? 0 : performance.now() - this.lastUse;
  }

  /** Listens at a path. The lock says that this process alone may: what is found there is of a supervisor that is gone. */
  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(path, () => {
        this.server.off("error", reject);
        resolve();
      });
    });
  }

  /** Stops listening, which removes the socket, and cuts what is still connected. */
  async close(): Promise<void> {
    if (!this.server.listening) return;
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
      this.server.closeIdleConnections();
      setTimeout(() => this.server.closeAllConnections(), 1_000).unref();
    });
  }

  private async respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "" } = request;
    try {
      const result = await answer(this.context, method, url, await bodyOf(request));
      send(response, 200, result);
    } catch (error) {
      if (error instanceof RefusedError) {
        send(response, error.status, error.refusal);
        return;
      }
      this.journal(`${method} ${url}: ${error instanceof Error ? error.stack : error}`);
      send(response, 500, { code: "internal", message: `${method} ${url}: ${reasonOf(error)}` } satisfies Refusal);
    }
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = body === undefined ? "" : JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", connection: "close" });
  response.end(text);
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > largestRequest) throw new RefusedError("invalid", `the request is longer than ${largestRequest} bytes`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString("utf8");
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RefusedError("invalid", `the request is not JSON: ${reasonOf(error)}`);
  }
}
