import { setTimeout as delay } from "node:timers/promises";
import type { RequestContext, ResponseContext } from "@kubernetes/client-node";
import type { Watch } from "../waiting";

/** Milliseconds that one attempt gets. */
const attemptTimeout = 15_000;
/** Milliseconds for which an API server that is away is asked again: as long as one takes to be started anew on another machine. */
const usualPatience = 120_000;
/** Milliseconds before the second attempt; each further pause is twice as long, up to the longest. */
const pauses = { first: 250, last: 5_000 };

/** Codes of errors after which a request was not even sent. */
const unsent = new Set(["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EAI_AGAIN"]);
/** Codes of errors after which nobody knows whether it was carried out. */
const unanswered = new Set(["ECONNRESET", "ECONNABORTED", "EPIPE", "ETIMEDOUT", "ERR_STREAM_PREMATURE_CLOSE"]);
/** An API server that says it has not carried out a request, or a proxy before it that says it is away. */
const busy = new Set([429, 503]);
/** An answer that leaves open what became of the request. */
const broken = new Set([500, 502, 504]);

export interface Patience extends Partial<Watch> {
  /** Milliseconds for which a request is tried again. 0: once. @default 2 minutes */
  readonly patience?: number;
}

type Send = (request: RequestContext) => Promise<ResponseContext>;

/**
 * Sends requests again while the API server is away or too busy, and says so. What may be repeated: reads; writes that carry a
 * `resourceVersion`, which are carried out once or refused; deletions. What makes an object is sent again only where it provably was not
 * carried out.
 */
export function retrying(send: Send, { patience = usualPatience, progress, signal }: Patience): Send {
  return async (request) => {
    const end = performance.now() + patience;
    const what = `${request.getHttpMethod()} ${new URL(request.getUrl()).pathname}`;
    const repeatable = String(request.getHttpMethod()) !== "POST";
    let told = false;
    for (let pause = pauses.first; ; pause = Math.min(pause * 2, pauses.last)) {
      signal?.throwIfAborted();
      const limits = [AbortSignal.timeout(attemptTimeout), ...(signal === undefined ? [] : [signal])];
      request.setSignal(AbortSignal.any(limits));
      let trouble: string;
      let rest = pause;
      try {
        const response = await send(request);
        const { httpStatusCode: status, headers } = response;
        if (!busy.has(status) && !(repeatable && broken.has(status))) {
          if (told) progress?.("the API server answers again");
          return response;
        }
        if (performance.now() + rest > end) return response;
        trouble = `it answers with HTTP ${status}`;
        rest = Math.max(rest, Math.min(Number(headers["retry-after"] ?? 0) * 1000 || 0, pauses.last));
        // Its connection is not given back before that.
        await response.body.text().catch(() => "");
      } catch (error) {
        signal?.throwIfAborted();
        if (!mayPass(error, repeatable) || performance.now() + rest > end) throw said(error, what);
        trouble = said(error, what).message;
      }
      progress?.(`the API server is away or busy, and is asked again: ${trouble}`);
      told = true;
      await delay(rest * (0.75 + Math.random() / 2), undefined, signal === undefined ? {} : { signal }).catch(() => {});
    }
  };
}

function mayPass(error: unknown, repeatable: boolean): boolean {
  const code = codeOf(error);
  return unsent.has(code) || (repeatable && (unanswered.has(code) || isTimeout(error)));
}

/** An aborted attempt says nothing of a time-out by itself. */
function said(error: unknown, what: string): Error {
  if (isTimeout(error)) return new Error(`${what} got no answer within ${attemptTimeout / 1000} s`, { cause: error });
  return error instanceof Error ? error : new Error(String(error));
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name);
}

function codeOf(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException;
    if (code !== undefined) return String(code);
  }
  return "";
}
