import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, Server as NetServer } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "./log";

/** Milliseconds for a whole request: uploads over slow lines take minutes. */
const requestTimeout = 15 * 60_000;
/** Above the minute after which load balancers commonly drop idle connections: theirs must be the first to close. */
const usualKeepAliveTimeout = 75_000;
/** Milliseconds without a byte in either direction; above the time that an instance gets to answer. */
const idleTimeout = 11 * 60_000;

export interface Shutdown {
  /** Milliseconds for which clients with idle connections may still send a request, answered with `Connection: close`. */
  readonly keepAliveGrace: number;
  /** Milliseconds for requests under way; what is left then is cut. */
  readonly deadline: number;
}

/** What answers the requests of a listener. */
export interface Handler {
  /** Never throws. */
  answer(request: IncomingMessage, response: ServerResponse): Promise<void>;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>;
  /** Bytes that a request's body may have. */
  maximumBodySize(): number;
}

export interface ListenerOptions {
  /** Milliseconds for the head of a client's request to be complete. */
  readonly headersTimeout: number;
  /** Milliseconds for which a connection without a request is kept; above what a load balancer in front keeps it. Default 75 s. */
  readonly keepAliveTimeout?: number;
  readonly log: Log;
}

/** The gateway's own HTTP server. */
export class Listener {
  private readonly server: Server;
  private closing = false;
  private readonly underWay = new Set<ServerResponse>();
  private readonly upgraded = new Set<Duplex>();

  /** @param handler answers what comes from now on; may be another one at any time, while the port stays open. */
  constructor(
    public handler: Handler,
    { headersTimeout, keepAliveTimeout = usualKeepAliveTimeout, log }: ListenerOptions,
  ) {
    const onRequest = (request: IncomingMessage, response: ServerResponse) => {
      if (this.closing) response.shouldKeepAlive = false;
      this.underWay.add(response);
      response.on("close", () => this.underWay.delete(response));
      void this.handler.answer(request, response);
    };
    const connectionsCheckingInterval = Math.ceil(headersTimeout / 3);
    this.server = createServer(
      { headersTimeout, requestTimeout, keepAliveTimeout, connectionsCheckingInterval },
      onRequest,
    );
    this.server.timeout = idleTimeout;
    this.server.on("checkContinue", (request, response) => {
      const declared = Number(request.headers["content-length"] ?? 0);
      // Who asks before sending need not send what is refused.
      if (declared <= this.handler.maximumBodySize()) response.writeContinue();
      onRequest(request, response);
    });
    this.server.on("upgrade", (request, socket, head) => {
      if (request.headers.upgrade?.toLowerCase() !== "websocket") {
        this.answerWithoutUpgrade(request, socket, head);
        return;
      }
      if (this.closing) {
        socket.end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        return;
      }
      this.upgraded.add(socket);
      socket.on("close", () => this.upgraded.delete(socket));
      this.handler.upgrade(request, socket, head).catch((error: Error) => {
        log(`an upgrade of ${request.url?.replace(/\?.*$/s, "")} failed: ${error.message}`);
        socket.destroy();
      });
    });
  }

  /**
   * Other protocols are not offered, and who offers to change to one wants an answer all the same: Java's HttpClient asks for
   * `h2c` with its first request. The request is read again, without its offer.
   */
  private answerWithoutUpgrade(
    { method, url, httpVersion, rawHeaders }: IncomingMessage,
    socket: Duplex,
    head: Buffer,
  ) {
    const offer = new Set(["upgrade", "connection", "http2-settings"]);
    const headers = rawHeaders.flatMap((name, index) =>
      index % 2 === 0 && !offer.has(name.toLowerCase()) ? [`${name}: ${rawHeaders[index + 1] ?? ""}`] : [],
    );
    if (head.length > 0) socket.unshift(head);
    socket.unshift(Buffer.from([`${method} ${url} HTTP/${httpVersion}`, ...headers, "", ""].join("\r\n"), "latin1"));
    this.server.emit("connection", socket);
  }

  /** Returns the port, once it accepts connections. */
  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(port, host, () => {
        this.server.off("error", reject);
        resolve((this.server.address() as AddressInfo).port);
      });
    });
  }

  /** Stops accepting connections, lets what is under way end, and ends connections so that no client sees a reset. */
  async close({ keepAliveGrace, deadline }: Shutdown): Promise<void> {
    this.closing = true;
    for (const response of this.underWay) if (!response.headersSent) response.shouldKeepAlive = false;
    const started = performance.now();
    // Not http.Server's own: that one cuts idle connections at once, on which the next request may be on its way.
    const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(this.server, () => resolve()));
    let open = true;
    void closed.then(() => {
      open = false;
    });
    while (open && performance.now() - started < deadline) {
      if (performance.now() - started >= keepAliveGrace) {
        this.server.closeIdleConnections();
        // Clients' own sockets are closed in their way by then; what is left are plugins', which never end by themselves.
        for (const socket of this.upgraded) socket.destroy();
      }
      await Promise.race([closed, delay(50)]);
    }
    this.server.closeAllConnections();
    for (const socket of this.upgraded) socket.destroy();
  }
}
