import type { ClientRequest, IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createProxyServer, type ProxyServer } from "http-proxy-3";
import { UnansweredError } from "./ask";
import { BodyTooLargeError, declaresTooMuch, limitBody } from "./body";
import type { Instance } from "./instance";

/** Milliseconds of silence of an instance; a plugin's route may compute for minutes before it answers. */
const proxyTimeout = 600_000;
const connectTimeout = 3_000;

type Proxy = ProxyServer<typeof IncomingMessage, typeof ServerResponse>;

/** What is known of one request under way. */
interface Passage {
  connected: boolean;
  upstream: ClientRequest | null;
  /** Ends its being counted as under way. */
  readonly done: () => void;
}

/** Passes requests on to an instance as they are, and streams the answers back. */
export class PassThrough {
  private readonly proxy: Proxy;
  private readonly passages = new WeakMap<IncomingMessage, Passage>();

  constructor(private readonly maximumBodySize: () => number) {
    this.proxy = createProxyServer({
      changeOrigin: true,
      xfwd: true,
      autoRewrite: true,
      // Keeps the path and the query as the client wrote them.
      toProxy: true,
      proxyTimeout,
    });
    this.proxy.on("proxyReq", (upstream, request, _response, _options, socket) =>
      this.noteUpstream(upstream, request, socket),
    );
    this.proxy.on("proxyRes", (answer, request, response) => {
      // A stream of events ends when its listener goes; a drain that waited for that would never end.
      if (answer.headers["content-type"]?.startsWith("text/event-stream")) this.passages.get(request)?.done();
      // They belong to the connection behind the gateway, and would end the client's.
      delete answer.headers.connection;
      delete answer.headers["keep-alive"];
      const own = response.getHeader("set-cookie");
      if (own !== undefined && answer.headers["set-cookie"] !== undefined) {
        answer.headers["set-cookie"] = [String(own), ...answer.headers["set-cookie"]];
      }
      if (response.shouldKeepAlive === false) answer.headers.connection = "close";
      // An answer that was cut must not look complete.
      answer.on("error", () => response.destroy());
      answer.on("close", () => {
        if (!answer.complete) response.destroy();
      });
    });
  }

  /**
   * Resolves when the answer was sent or cut. Throws, with nothing sent to the client: an UnansweredError when the instance
   * gave no answer, a BodyTooLargeError.
   */
  forward(request: IncomingMessage, response: ServerResponse, instance: Instance): Promise<void> {
    const maximum = this.maximumBodySize();
    if (declaresTooMuch(request, maximum)) return Promise.reject(new BodyTooLargeError(maximum));
    const done = instance.begin();
    const passage: Passage = { connected: false, upstream: null, done };
    this.passages.set(request, passage);
    // The gateway has answered it already.
    delete request.headers.expect;
    // Each attempt at another instance adds listeners of the proxy's; they are as many as a held request has attempts.
    for (const emitter of [request, response]) emitter.setMaxListeners(0);
    return new Promise<void>((resolve, reject) => {
      response.once("close", resolve);
      const fail = (error: Error) => {
        if (response.headersSent) response.destroy();
        else {
          response.off("close", resolve);
          reject(error);
        }
      };
      const unanswered = (error: Error) =>
        fail(new UnansweredError(instance.id, passage.connected, `${request.method} ${request.url}: ${error.message}`));
      const options = { target: instance.url.href };
      if (!hasBody(request)) {
        this.proxy.web(request, response, options, unanswered);
        return;
      }
      const body = limitBody(request, maximum);
      body.on("error", (error) => {
        passage.upstream?.destroy();
        fail(error);
      });
      this.proxy.web(request, response, { ...options, buffer: body }, unanswered);
    }).finally(done);
  }

  /**
   * Joins a WebSocket of a plugin with the instance. It does not count as under way: a page keeps its socket as long as it is
   * open, and connects again, to another instance, when this one has gone.
   */
  forwardSocket(request: IncomingMessage, socket: Duplex, head: Buffer, instance: Instance): void {
    this.proxy.ws(request, socket, head, { target: instance.url.href }, () => socket.destroy());
  }

  private noteUpstream(upstream: ClientRequest, request: IncomingMessage, socket: Socket): void {
    const passage = this.passages.get(request);
    if (passage === undefined) return;
    passage.upstream = upstream;
    if (!socket.connecting) {
      passage.connected = true;
      return;
    }
    const timer = setTimeout(
      () => socket.destroy(new Error(`no connection within ${connectTimeout} ms`)),
      connectTimeout,
    );
    socket.once("connect", () => {
      passage.connected = true;
      clearTimeout(timer);
    });
    socket.once("close", () => clearTimeout(timer));
  }
}

/** Whether a request has a body; one without can be sent again. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}
