import { type ClientRequest, type IncomingMessage, request as requestHttp, type ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { sendError } from "../answers";
import { declaresTooMuch, readBody, refuseTooLarge } from "../body";
import type { Log } from "../log";
import { notLeadingHeader } from "../not-leading";
import { hasBody } from "../pass-through";
import { forwardedHeaders, passableHeaders } from "./forwarded-headers";
import { type Identity, identityText } from "./identity";
import { bareAddress } from "./peer";

/** Milliseconds of silence of the leader, which itself waits for instances; above its own limit. */
const silence = 11 * 60_000;
const connectTimeout = 3_000;
/** Bytes of a body that is kept, so that the request can be sent again to the next leader. Prompts are mostly far smaller. */
const mostKept = 4 * 2 ** 20;
const pauseBeforeRetry = 100;

export interface ForwarderOptions {
  readonly me: string;
  readonly port: () => number;
  /** Who leads, also when it is this gateway itself; waits for one until a time of `performance.now()`, then null. */
  readonly waitForLeader: (deadline: number, signal: AbortSignal) => Promise<Identity | null>;
  /** Called when the leader could not be reached. */
  readonly onUnreachable: () => void;
  readonly maximumBodySize: () => number;
  /** Milliseconds for which a request is held while there is no leader. */
  readonly holdTimeout: number;
  readonly log: Log;
}

/** What became of one attempt. */
type Attempt =
  | { readonly kind: "answered" }
  /** The request had no effect: it may be sent again. */
  | { readonly kind: "not-reached"; readonly reason: string }
  /** Nobody can say what became of it. */
  | { readonly kind: "unclear"; readonly reason: string };

/** Passes requests on to the leader, and its answers back, as they are. */
export class Forwarder {
  constructor(private readonly options: ForwarderOptions) {}

  /** Never throws. */
  async forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { waitForLeader, maximumBodySize, holdTimeout, onUnreachable, log } = this.options;
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const deadline = performance.now() + holdTimeout;
    try {
      if (declaresTooMuch(request, maximumBodySize())) return refuseTooLarge(request, response, maximumBodySize());
      // Kept before it is known who leads: a client that goes away while it sends is then nobody's trouble.
      const kept = await keptBody(request);
      const repeatable = kept !== null && ["GET", "HEAD"].includes(request.method ?? "") && kept.length === 0;
      for (;;) {
        const leader = await waitForLeader(deadline, gone.signal);
        if (gone.signal.aborted) return;
        if (leader === null) {
          const message = "no gateway of this service leads at the moment";
          sendError(response, 503, "no_leading_gateway", message, 1);
          return void request.resume();
        }
        const attempt = await this.attempt(request, response, leader, kept);
        if (attempt.kind === "answered" || gone.signal.aborted) return;
        onUnreachable();
        const again = attempt.kind === "not-reached" ? kept !== null || !request.readableDidRead : repeatable;
        if (!again || performance.now() >= deadline) {
          const message = `${attempt.reason}; ${again ? "there was no effect" : "whether it had an effect is not known"}`;
          sendError(response, 502, "leading_gateway_lost", message, 1);
          return void request.resume();
        }
        await delay(pauseBeforeRetry);
      }
    } catch (error) {
      if (response.destroyed || request.socket.destroyed) return;
      log(`${request.method} ${request.url?.replace(/\?.*$/s, "")} failed: ${(error as Error).message}`);
      sendError(response, 500, "gateway_error", (error as Error).message);
    }
  }

  private attempt(
    request: IncomingMessage,
    response: ServerResponse,
    leader: Identity,
    kept: Buffer | null,
  ): Promise<Attempt> {
    return new Promise((resolve) => {
      const progress = { connected: false, headed: false };
      const outgoing = this.open(request, leader, progress, {
        ...forwardedHeaders(request, this.options.me),
        ...(kept === null || kept.length === 0 ? {} : { "content-length": kept.length }),
        connection: "close",
      });
      const onClientGone = () => outgoing.destroy();
      response.once("close", onClientGone);
      const settle = (attempt: Attempt) => {
        response.off("close", onClientGone);
        resolve(attempt);
      };
      outgoing.on("error", (error) => {
        // A leader may answer, and close, before a large body was sent to its end.
        if (progress.headed) return;
        const reason = `the leading gateway ${identityText(leader)} gave no answer: ${error.message}`;
        settle({ kind: progress.connected ? "unclear" : "not-reached", reason });
      });
      outgoing.on("response", (answer) => {
        progress.headed = true;
        if (answer.headers[notLeadingHeader] !== undefined) {
          answer.resume();
          outgoing.destroy();
          return settle({ kind: "not-reached", reason: `${identityText(leader)} does not lead any more` });
        }
        const close = response.shouldKeepAlive ? [] : ["connection", "close"];
        response.writeHead(answer.statusCode ?? 502, [...passableHeaders(answer.rawHeaders), ...close]);
        response.flushHeaders();
        // An answer that was cut must not look complete.
        answer.on("close", () => {
          if (!answer.complete) response.destroy();
        });
        answer.on("error", () => response.destroy());
        response.on("close", () => settle({ kind: "answered" }));
        answer.pipe(response);
      });
      if (kept !== null) outgoing.end(kept);
      else
        outgoing.on("socket", (socket) => {
          // Not read before there is somebody to send it to.
          const begin = () => request.pipe(outgoing);
          if (socket.connecting) socket.once("connect", begin);
          else begin();
        });
    });
  }

  /** A request to the leader that tells whether it came to a connection. */
  open(
    { method, url }: IncomingMessage,
    leader: Identity,
    progress: { connected: boolean },
    headers: NodeJS.Dict<string | number | string[]>,
  ): ClientRequest {
    const outgoing = requestHttp({
      host: bareAddress(leader),
      port: this.options.port(),
      method,
      path: url,
      headers,
      agent: false,
      setHost: false,
      timeout: silence,
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error(`silent for ${silence} ms`)));
    outgoing.on("socket", (socket) => {
      const slow = setTimeout(
        () => socket.destroy(new Error(`no connection within ${connectTimeout} ms`)),
        connectTimeout,
      );
      socket.once("connect", () => {
        progress.connected = true;
        clearTimeout(slow);
      });
      socket.once("close", () => clearTimeout(slow));
    });
    return outgoing;
  }
}

/** The whole body where it is small, an empty one where there is none; null for one that has to be passed on as it comes. */
async function keptBody(request: IncomingMessage): Promise<Buffer | null> {
  if (!hasBody(request)) return Buffer.alloc(0);
  const declared = Number(request.headers["content-length"] ?? Number.NaN);
  return declared <= mostKept ? readBody(request, mostKept) : null;
}
