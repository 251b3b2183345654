import { type IncomingMessage, request as requestHttp } from "node:http";
import { type RequestOptions, request as requestHttps } from "node:https";
import { createInterface } from "node:readline";
import type { KubeConfig } from "@kubernetes/client-node";

/** Milliseconds for a whole answer of the API server that is no watch. */
const answerTimeout = 5_000;

/** The API server answered, but not as asked. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    what: string,
    readonly status: number,
    readonly reason: string,
    message: string,
  ) {
    super(`${what} was answered with ${status} ${reason}: ${message}`);
  }
}

/** There was no, or no whole, answer of the API server. */
export class ApiUnreachableError extends Error {
  override readonly name = "ApiUnreachableError";
}

export interface ApiRequest {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Form of the answer. Default JSON. */
  readonly accept?: string;
  /** Milliseconds for the whole answer. Default 5 s. */
  readonly timeout?: number;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: unknown;
}

/**
 * The few requests that a gateway makes of the API server. The client library knows how to get there and who one is; its
 * requests and watches have no deadline of their own, and a watch whose connection has died in silence never ends.
 */
export class KubernetesApi {
  constructor(private readonly config: KubeConfig) {}

  /** Throws an {@link ApiError} or an {@link ApiUnreachableError}. */
  async request({
    method = "GET",
    path,
    query = {},
    body,
    contentType = "application/json",
    accept = "application/json",
    timeout = answerTimeout,
  }: ApiRequest): Promise<unknown> {
    const what = `${method} ${path}`;
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = { accept, ...(text === undefined ? {} : { "content-type": contentType }) };
    const response = await this.open(method, path, query, headers, text, AbortSignal.timeout(timeout));
    const answer = await readText(response, what);
    if ((response.statusCode ?? 0) >= 300) throw errorOf(what, response.statusCode ?? 0, answer);
    try {
      return JSON.parse(answer);
    } catch (error) {
      throw new ApiUnreachableError(`${what} was answered with what is no JSON: ${(error as Error).message}`);
    }
  }

  /**
   * Yields what a watch tells, until the server ends it. Throws an {@link ApiError} (also for what the watch itself tells as
   * an error), or an {@link ApiUnreachableError} when the connection breaks, or nothing came for a time in which something had to.
   * @param silence milliseconds without a byte after which the connection counts as dead.
   * @param accept form of the objects.
   */
  async *watch(
    path: string,
    query: Readonly<Record<string, string>>,
    silence: number,
    signal: AbortSignal,
    accept = "application/json",
  ): AsyncGenerator<WatchEvent> {
    const what = `watching ${path}`;
    const stop = new AbortController();
    const opening = setTimeout(() => stop.abort(), answerTimeout);
    let response: IncomingMessage;
    try {
      const both = AbortSignal.any([signal, stop.signal]);
      response = await this.open("GET", path, { ...query, watch: "true" }, { accept }, undefined, both);
    } finally {
      clearTimeout(opening);
    }
    const { statusCode = 0 } = response;
    if (statusCode >= 300) throw errorOf(what, statusCode, await readText(response, what));
    response.setTimeout(silence, () => response.destroy(new Error(`silent for ${silence} ms`)));
    try {
      for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY })) {
        if (line === "") continue;
        const { type, object } = JSON.parse(line) as WatchEvent;
        if (type === "ERROR") {
          const { code = 0 } = object as { readonly code?: number };
          throw errorOf(what, code, JSON.stringify(object));
        }
        yield { type, object };
      }
      // The lines end in the same way when the connection breaks.
      if (response.errored) throw response.errored;
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiUnreachableError(`${what}: ${(error as Error).message}`);
    } finally {
      response.destroy();
    }
  }

  private async open(
    method: string,
    path: string,
    query: Readonly<Record<string, string>>,
    headers: Readonly<Record<string, string>>,
    body: string | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const what = `${method} ${path}`;
    const server = this.config.getCurrentCluster()?.server;
    if (server === undefined) throw new Error("there is no cluster in the configuration");
    const url = new URL(server.replace(/\/$/, "") + path);
    url.search = new URLSearchParams(query).toString();
    const options: RequestOptions = { headers: { accept: "application/json", ...headers } };
    try {
      await this.config.applyToHTTPSOptions(options);
    } catch (error) {
      throw new ApiUnreachableError(`${what}: no credentials: ${(error as Error).message}`);
    }
    return new Promise((resolve, reject) => {
      const send = url.protocol === "https:" ? requestHttps : requestHttp;
      // A connection of its own for each: none can be one that has died since its last use.
      const request = send(url, { ...options, method, signal });
      request.on("socket", (socket) => socket.setKeepAlive(true, 10_000));
      request.on("response", resolve);
      request.on("error", (error) => {
        const { message } = signal.aborted ? { message: "no answer in time" } : error;
        reject(new ApiUnreachableError(`${what}: ${message}`));
      });
      request.end(body);
    });
  }
}

async function readText(response: IncomingMessage, what: string): Promise<string> {
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    return Buffer.concat(chunks).toString("utf8");
  } catch (error) {
    throw new ApiUnreachableError(`${what}: ${(error as Error).message}`);
  }
}

function errorOf(what: string, status: number, answer: string): ApiError | ApiUnreachableError {
  let reason = "";
  let message = answer.slice(0, 500);
  try {
    const parsed = JSON.parse(answer) as { readonly reason?: string; readonly message?: string };
    reason = parsed.reason ?? "";
    message = parsed.message ?? message;
  } catch {
    // A proxy in between answers in its own words.
  }
  // It is there, but cannot say: not different from not being there.
  if (status >= 500 || status === 429) return new ApiUnreachableError(`${what}: ${status} ${reason} ${message}`);
  return new ApiError(what, status, reason, message);
}
