import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What goes wrong with one request. */
export type Fault =
  /** Answers itself, in S3's form of errors. A code of "" has no body. */
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly code: string;
      readonly headers?: Record<string, string>;
    }
  /** Closes the connection without an answer, before the server sees the request. */
  | { readonly kind: "reset" }
  /** Lets the server do it, then closes the connection instead of answering. */
  | { readonly kind: "lose-answer" }
  /** Passes on the first bytes of the request's body, then closes both connections. */
  | { readonly kind: "cut-request"; readonly at: number }
  /** Announces the whole body of the answer, sends its first bytes, then closes the connection in order. */
  | { readonly kind: "cut-answer"; readonly at: number }
  /** The same with a reset, by which bytes that the client has not read yet are lost. */
  | { readonly kind: "reset-answer"; readonly at: number }
  /** Sends the first bytes of the answer's body as if they were all. */
  | { readonly kind: "shorten-answer"; readonly at: number }
  /** Sends the first bytes of the answer's body, then nothing more, for ever. */
  | { readonly kind: "stall"; readonly at: number }
  /** Changes one byte of the body. */
  | { readonly kind: "damage-answer"; readonly at: number }
  | { readonly kind: "damage-request"; readonly at: number }
  /** Says of a key that is not there that access to it is denied, as S3 does to whom may not list the bucket. */
  | { readonly kind: "hide-missing" }
  /** Sends the answer's body a little at a time. */
  | { readonly kind: "trickle"; readonly piece: number }
  /** Does something first, then passes the request on. */
  | { readonly kind: "first"; readonly act: () => Promise<unknown> };

/** A request as it came. */
export interface Seen {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  /** From 1 on. */
  readonly number: number;
  /** Tells the connections apart by which requests came. */
  readonly port: number | undefined;
}

export interface FaultyProxy {
  readonly endpoint: string;
  /** Decides what goes wrong; nothing does where it gives undefined. */
  plan: (seen: Seen) => Fault | undefined;
  /** Since the last {@link FaultyProxy.forget}. */
  readonly seen: readonly Seen[];
  /** Bytes of bodies of answers that were sent on. */
  readonly bytesSent: number;
  readonly forget: () => void;
  readonly stop: () => Promise<void>;
}

/** A proxy in front of an S3 server that makes connections and answers fail on purpose. */
export async function startFaultyProxy(target: string): Promise<FaultyProxy> {
  const upstream = new URL(target);
  let seen: Seen[] = [];
  let bytesSent = 0;
  const server = createServer((incoming, answer) => {
    const { method = "", url = "", headers } = incoming;
    const one: Seen = { method, url, headers, number: seen.length + 1, port: incoming.socket.remotePort };
    seen.push(one);
    const count = (bytes: number) => {
      bytesSent += bytes;
    };
    // What breaks here breaks the connection, which is what the other side is to live with.
    pass(upstream, incoming, answer, proxy.plan(one), count).catch(() => reset(answer));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    plan: (): Fault | undefined => undefined,
    get seen() {
      return seen;
    },
    get bytesSent() {
      return bytesSent;
    },
    forget: () => {
      seen = [];
      bytesSent = 0;
    },
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  } as FaultyProxy & { plan: (seen: Seen) => Fault | undefined };
  return proxy;
}

async function pass(
  upstream: URL,
  incoming: IncomingMessage,
  answer: ServerResponse,
  fault: Fault | undefined,
  count: (bytes: number) => void,
): Promise<void> {
  if (fault?.kind === "reset") return reset(answer);
  const body = await bodyOf(incoming);
  if (fault?.kind === "answer") return answerItself(answer, fault, incoming.method === "HEAD");
  if (fault?.kind === "first") await fault.act();
  const response = await ask(upstream, incoming, changed(body, fault, "damage-request"), fault);
  const content = changed(await bodyOf(response), fault, "damage-answer");
  if (fault?.kind === "lose-answer") return reset(answer);
  if (fault?.kind === "hide-missing" && response.statusCode === 404) {
    return answerItself(answer, { kind: "answer", status: 403, code: "AccessDenied" }, incoming.method === "HEAD");
  }
  const headers = { ...response.headers };
  const kept = fault !== undefined && "at" in fault && shortening.has(fault.kind) ? fault.at : content.length;
  const sent = content.subarray(0, kept);
  if (fault?.kind === "shorten-answer") headers["content-length"] = String(sent.length);
  delete headers["transfer-encoding"];
  answer.writeHead(response.statusCode ?? 502, headers);
  count(sent.length);
  if (fault?.kind === "trickle") await trickle(answer, sent, fault.piece);
  else if (sent.length > 0) await new Promise((resolve) => answer.write(sent, resolve));
  else answer.flushHeaders();
  if (fault?.kind === "stall" && sent.length < content.length) return;
  if (fault?.kind === "reset-answer") return reset(answer);
  if (fault?.kind === "cut-answer") {
    answer.socket?.destroy();
    return;
  }
  answer.end();
}

const shortening = new Set<Fault["kind"]>(["cut-answer", "reset-answer", "shorten-answer", "stall"]);

function reset(answer: ServerResponse): void {
  answer.socket?.resetAndDestroy();
}

function answerItself(
  answer: ServerResponse,
  { status, code, headers }: Extract<Fault, { kind: "answer" }>,
  head: boolean,
): void {
  const text =
    code === "" || head
      ? ""
      : `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>On purpose: ${code}</Message></Error>`;
  answer.writeHead(status, {
    "content-type": "application/xml",
    "content-length": Buffer.byteLength(text),
    ...headers,
  });
  answer.end(text);
}

async function ask(
  { hostname, port }: URL,
  { method, url, headers }: IncomingMessage,
  body: Buffer,
  fault: Fault | undefined,
): Promise<IncomingMessage> {
  const outgoing = request({ hostname, port, method, path: url, headers });
  // A server may answer before it has read the body, and break the connection: then reading the answer fails, if it does at all.
  outgoing.on("error", () => undefined);
  if (fault?.kind === "cut-request") {
    outgoing.flushHeaders();
    await new Promise((resolve) => outgoing.write(body.subarray(0, fault.at), resolve));
    outgoing.destroy();
    throw new Error("cut on purpose");
  }
  outgoing.end(body);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  return response;
}

async function trickle(answer: ServerResponse, content: Buffer, piece: number): Promise<void> {
  for (let at = 0; at < content.length; at += piece) {
    await new Promise((resolve) => answer.write(content.subarray(at, at + piece), resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function changed(body: Buffer, fault: Fault | undefined, kind: "damage-request" | "damage-answer"): Buffer {
  if (fault?.kind !== kind || body.length === 0) return body;
  const at = fault.at % body.length;
  const copy = Buffer.from(body);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
