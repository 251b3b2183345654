import type { IncomingMessage, ServerResponse } from "node:http";
import type { Visitor } from "./access";

/** One admitted request with what routing needs to know of it. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Path without the `/api` that every route of ComfyUI also has. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly visitor: Visitor;
  /** By what the client is known so far, for {@link import("./affinity").Affinity}. */
  readonly clients: readonly string[];
  /** Aborted when the client goes before its answer was sent. */
  readonly signal: AbortSignal;
}

/** A request's target as path and query; of an absolute one, as a proxy is asked, without scheme and host. */
export function originForm(url: string): string {
  const rest = url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "");
  return rest === url || rest.startsWith("/") ? rest : `/${rest}`;
}

/**
 * Splits a request's target. The path is what ComfyUI's server matches with its routes: every escape is decoded but `%2F` and
 * `%25`. `/api` in front is dropped except before `/internal`, which exists without it only.
 */
export function parsePath(url: string): { readonly path: string; readonly query: URLSearchParams } {
  const mark = url.indexOf("?");
  const path = decodePath(mark < 0 ? url : url.slice(0, mark));
  const query = new URLSearchParams(mark < 0 ? "" : url.slice(mark + 1));
  return { path: path.startsWith("/api/") && !path.startsWith("/api/internal/") ? path.slice(4) : path, query };
}

function decodePath(path: string): string {
  return path.includes("%") ? decodeAscii(path, "%/").replace(/(?:%[89a-f][0-9a-f])+/gi, decodeOr) : path;
}

/**
 * Decodes every escape of an ASCII character but of those that are named. An escape that has no meaning stays as it is, and keeps
 * none of the others from being decoded, as in ComfyUI's server.
 */
export function decodeAscii(text: string, except = ""): string {
  return text.replace(/%([0-7][0-9a-f])/gi, (written, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    return except.includes(character) ? written : character;
  });
}

/** The decoded text, or the text itself where it has no meaning. */
export function decodeOr(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A URL with another query. */
export function withQuery(url: string, query: URLSearchParams): string {
  const path = url.replace(/\?.*$/s, "");
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** Key of a client that names itself, in a prompt or on its socket. */
export function clientKey(clientId: string): string {
  return `client:${clientId}`;
}

export function cookieKey(value: string): string {
  return `cookie:${value}`;
}
