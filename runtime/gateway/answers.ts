import type { ServerResponse } from "node:http";
import type { Answer } from "./ask";

/** Sends JSON that is already text. */
export function sendJson(response: ServerResponse, text: string, status = 200): void {
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

export function sendEmpty(response: ServerResponse, status = 200): void {
  response.writeHead(status, { "content-length": 0 });
  response.end();
}

/** An error of the gateway's own, in the form of ComfyUI's, so that clients show its message. */
export function sendError(
  response: ServerResponse,
  status: number,
  type: string,
  message: string,
  retryAfterSeconds?: number,
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  if (retryAfterSeconds !== undefined) response.setHeader("retry-after", retryAfterSeconds);
  if (status === 401) response.setHeader("www-authenticate", "Bearer");
  sendJson(response, errorBody(type, message), status);
}

export function errorBody(type: string, message: string): string {
  return JSON.stringify({ error: { type, message, details: "", extra_info: {} }, node_errors: {} });
}

/** Passes an instance's answer on as it is. */
export function sendAnswer(response: ServerResponse, { status, headers, body }: Answer): void {
  if (headers["content-type"] !== undefined) response.setHeader("content-type", headers["content-type"]);
  response.writeHead(status, { "content-length": body.length });
  response.end(body);
}
