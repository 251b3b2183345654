import type { IncomingMessage } from "node:http";
import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { errorBody } from "../answers";
import { notLeadingHeader } from "../not-leading";
import { forwardedHeaders } from "./forwarded-headers";
import type { Forwarder, ForwarderOptions } from "./forwarding";
import { closeFrame, FrameBoundary } from "./frame-boundary";
import { type Identity, identityText } from "./identity";

const pauseBeforeRetry = 100;
/** Milliseconds for a client to take the word that its socket closes. */
const closeTimeout = 2_000;

/** Passes WebSockets on to the leader, and tells their clients to connect again when that one, or this gateway, goes. */
export class SocketForwarder {
  private readonly open = new Set<(reason: string) => void>();

  constructor(
    private readonly forwarder: Forwarder,
    private readonly options: ForwarderOptions,
  ) {}

  async forward(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { waitForLeader, holdTimeout, onUnreachable } = this.options;
    const gone = new AbortController();
    socket.on("error", () => socket.destroy());
    socket.on("close", () => gone.abort());
    const deadline = performance.now() + holdTimeout;
    for (;;) {
      const leader = await waitForLeader(deadline, gone.signal);
      if (gone.signal.aborted) return;
      if (leader === null) return refuse(socket, "no gateway of this service leads at the moment");
      const failure = await this.attempt(request, socket, head, leader);
      if (failure === null || gone.signal.aborted) return;
      onUnreachable();
      if (performance.now() >= deadline) return refuse(socket, failure);
      // What did not come to be has no effect: it is tried again whatever went wrong.
      await delay(pauseBeforeRetry);
    }
  }

  /** Closes every socket with 1012. */
  close(): void {
    for (const end of this.open) end("the gateway restarts");
  }

  /** Null when the leader has answered, be it with a refusal; else why not. */
  private attempt(request: IncomingMessage, socket: Duplex, head: Buffer, leader: Identity): Promise<string | null> {
    return new Promise((resolve) => {
      const outgoing = this.forwarder.open(
        request,
        leader,
        { connected: false },
        {
          ...forwardedHeaders(request, this.options.me),
          connection: "Upgrade",
          upgrade: "websocket",
        },
      );
      const onClientGone = () => outgoing.destroy();
      socket.once("close", onClientGone);
      const settle = (failure: string | null) => {
        socket.off("close", onClientGone);
        resolve(failure);
      };
      outgoing.on("error", (error) => settle(`${identityText(leader)}: ${error.message}`));
      outgoing.on("response", (answer) => {
        if (answer.headers[notLeadingHeader] !== undefined) {
          answer.resume();
          outgoing.destroy();
          return settle(`${identityText(leader)} does not lead any more`);
        }
        socket.write(headOf(answer, ["Connection: close"]));
        answer.pipe(socket);
        settle(null);
      });
      outgoing.on("upgrade", (answer, upstream, first) => {
        socket.write(headOf(answer, []));
        this.join(socket, head, upstream, first);
        settle(null);
      });
      outgoing.end();
    });
  }

  private join(client: Duplex, head: Buffer, upstream: Duplex, first: Buffer): void {
    const frames = new FrameBoundary();
    if (first.length > 0) upstream.unshift(first);
    if (head.length > 0) client.unshift(head);
    let ended = false;
    const end = (reason: string) => {
      if (ended) return;
      ended = true;
      this.open.delete(end);
      upstream.off("data", pass);
      upstream.destroy();
      // In the middle of a frame, nothing can be said any more.
      if (frames.closing || !frames.between) client.end();
      else client.end(closeFrame(reason));
      client.resume();
      setTimeout(() => client.destroy(), closeTimeout).unref();
    };
    const pass = (chunk: Buffer) => {
      frames.see(chunk);
      if (client.write(chunk)) return;
      upstream.pause();
      client.once("drain", () => upstream.resume());
    };
    this.open.add(end);
    upstream.on("data", pass);
    upstream.on("error", () => end("the leading gateway was lost"));
    upstream.on("close", () => end("the leading gateway was lost"));
    upstream.on("end", () => end("the leading gateway was lost"));
    client.on("close", () => {
      ended = true;
      this.open.delete(end);
      upstream.destroy();
    });
    client.pipe(upstream);
  }
}

function headOf(
  { statusCode = 502, statusMessage = "", rawHeaders }: IncomingMessage,
  more: readonly string[],
): string {
  const lines = rawHeaders.flatMap((name, index) => {
    if (index % 2 === 1 || (more.length > 0 && /^(connection|keep-alive|transfer-encoding)$/i.test(name))) return [];
    return [`${name}: ${rawHeaders[index + 1] ?? ""}`];
  });
  return `${[`HTTP/1.1 ${statusCode} ${statusMessage}`, ...lines, ...more].join("\r\n")}\r\n\r\n`;
}

function refuse(socket: Duplex, message: string): void {
  const body = errorBody("no_leading_gateway", message);
  const headers = ["Content-Type: application/json", `Content-Length: ${Buffer.byteLength(body)}`, "Connection: close"];
  socket.end([`HTTP/1.1 503 ${STATUS_CODES[503]}`, ...headers, "", body].join("\r\n"));
}
