import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request as requestHttp,
} from "node:http";
import { request as requestHttps } from "node:https";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Instance } from "./instance";

/** Milliseconds for a connection to an instance to be made. */
const connectTimeout = 3_000;
/** Most bytes of an answer that is kept in memory; a history of 10,000 prompts with large workflows stays below. */
const largestAnswer = 512 * 2 ** 20;

/** An instance gave no whole answer. */
export class UnansweredError extends Error {
  override readonly name = "UnansweredError";
  constructor(
    readonly instance: string,
    /** Whether something was sent, so that it may have acted. */
    readonly reached: boolean,
    reason: string,
    /** The connection was refused: nothing listens there, so the process is gone. Mere silence does not say that. */
    readonly refused = false,
  ) {
    super(`${instance} ${reached ? "gave no whole answer" : "cannot be reached"}: ${reason}`);
  }
}

export interface Question {
  readonly method?: string;
  /** Path and query. */
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Buffer | Readable;
  /** Milliseconds of silence after which the instance counts as not answering. Default 10 s. */
  readonly timeout?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/**
 * Sends a request of the gateway's own and reads the whole answer. Throws an UnansweredError.
 * Connections are not kept: one that the instance has just closed would make it unclear whether a prompt was taken.
 */
export async function ask(instance: Instance, question: Question): Promise<Answer> {
  const response = await askStreaming(instance, question);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > largestAnswer) throw new Error(`the answer has more than ${largestAnswer} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    response.destroy();
    throw new UnansweredError(instance.id, true, `${question.path}: ${(error as Error).message}`);
  }
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) };
}

/** As {@link ask}, but the body of the answer is the caller's to read, and to destroy when it is not read to its end. */
export function askStreaming(
  instance: Instance,
  { method = "GET", path, headers = {}, body, timeout = 10_000 }: Question,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let connected = false;
    const fail = ({ message, code }: NodeJS.ErrnoException) =>
      reject(new UnansweredError(instance.id, connected, `${method} ${path}: ${message}`, code === "ECONNREFUSED"));
    const request = (instance.url.protocol === "https:" ? requestHttps : requestHttp)({
      hostname: instance.url.hostname.replace(/^\[|\]$/g, ""),
      port: instance.url.port,
      method,
      path,
      headers: { ...headers, connection: "close" },
      agent: false,
      timeout,
    });
    const slowConnect = setTimeout(
      () => request.destroy(new Error(`no connection within ${connectTimeout} ms`)),
      connectTimeout,
    );
    request.on("socket", (socket) =>
      socket.once("connect", () => {
        connected = true;
        clearTimeout(slowConnect);
      }),
    );
    request.on("timeout", () => request.destroy(new Error(`silent for ${timeout} ms`)));
    request.on("error", (error) => {
      clearTimeout(slowConnect);
      fail(error);
    });
    request.on("response", resolve);
    if (body === undefined || Buffer.isBuffer(body)) request.end(body);
    else pipeline(body, request).catch(fail);
  });
}
