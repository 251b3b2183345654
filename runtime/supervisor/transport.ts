import { request } from "node:http";
import { formatDuration } from "../format";
import type { Refusal } from "./protocol";

/** The supervisor refused a request. */
export class SupervisorError extends Error {
  override readonly name = "SupervisorError";

  constructor(readonly refusal: Refusal) {
    super(refusal.message);
  }
}

/** No answer came, since the supervisor is not there or went away meanwhile. */
export class NoAnswerError extends Error {
  override readonly name = "NoAnswerError";

  constructor(
    message: string,
    /** False when the request cannot have had any effect. */
    readonly sent: boolean,
    options: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type Method = "GET" | "PUT" | "POST" | "DELETE";

export interface Call {
  readonly method: Method;
  /** Path below the socket, for example `/v1/about`. */
  readonly path: string;
  readonly body?: unknown;
  /** Milliseconds until the answer must be complete. */
  readonly timeout: number;
}

/** Codes of a connection that was never made. */
const neverConnected: ReadonlySet<string | undefined> = new Set(["ENOENT", "ECONNREFUSED", "ENOTSOCK"]);

/**
 * Sends one request to a supervisor's socket and returns the decoded answer.
 * @throws {SupervisorError} when it refuses. @throws {NoAnswerError} when no whole answer comes.
 */
export function ask(socket: string, { method, path, body, timeout }: Call): Promise<unknown> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const lost = (error: Error) => {
      const { code } = error as NodeJS.ErrnoException;
      const message = `no answer from the supervisor at ${socket} to ${method} ${path}: ${error.message}`;
      reject(new NoAnswerError(message, !neverConnected.has(code), { cause: error }));
    };
    const outgoing = request({
      socketPath: socket,
      method,
      path,
      // A connection for each request: an idle one would keep the supervisor from ending when it has nothing left.
      agent: false,
      signal: AbortSignal.timeout(timeout),
      headers: {
        host: "supervisor",
        ...(text === undefined
          ? {}
          : { "content-type": "application/json", "content-length": String(Buffer.byteLength(text)) }),
      },
    });
    outgoing.once("error", (error) =>
      lost(error.name === "AbortError" ? new Error(`nothing came within ${formatDuration(timeout)}`) : error),
    );
    outgoing.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", lost);
      response.once("end", () => {
        try {
          resolve(decode(response.statusCode ?? 0, Buffer.concat(chunks).toString("utf8")));
        } catch (error) {
          reject(error);
        }
      });
    });
    outgoing.end(text);
  });
}

function decode(status: number, text: string): unknown {
  const answer: unknown = text === "" ? undefined : JSON.parse(text);
  if (status >= 200 && status < 300) return answer;
  throw new SupervisorError(answer as Refusal);
}
