import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { STATUS_CODES } from "node:http";
import { posix } from "node:path";
import type { Duplex } from "node:stream";
import { admit, hasApiKey, isRefusal, stripCredentials, type Visitor } from "./access";
import { errorBody, sendError, sendJson } from "./answers";
import { UnansweredError } from "./ask";
import { BodyTooLargeError, declaresTooMuch, refuseTooLarge } from "./body";
import { clientCookie, cookiesOf, setClientCookie } from "./cookies";
import { clientKey, cookieKey, decodeAscii, decodeOr, type Exchange, originForm, parsePath } from "./exchange";
import { isLoopback } from "./foreign-origin";
import { getHistory, getPromptHistory, postHistory } from "./history-routes";
import type { Instance } from "./instance";
import { NotLeadingError, refuseNotLeading } from "./not-leading";
import type { GatewayParts } from "./parts";
import { hasBody } from "./pass-through";
import { submitPrompt } from "./prompt-submission";
import { getQueue, getQueueLength, postInterrupt, postQueue } from "./queue-routes";
import { findInstance, noInstance } from "./select";
import { gatewayStatus } from "./status";
import { postUpload } from "./upload-route";
import { getView, knownMark, unmark } from "./view-route";

type Route = (exchange: Exchange, parts: GatewayParts) => Promise<void>;

/** What the gateway answers itself; every other request is passed on. */
const routes: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["POST /prompt", submitPrompt],
  ["GET /prompt", getQueueLength],
  ["GET /queue", getQueue],
  ["POST /queue", postQueue],
  ["POST /interrupt", postInterrupt],
  ["GET /history", getHistory],
  ["POST /history", postHistory],
  ["GET /view", getView],
  ["POST /upload/image", postUpload],
  ["POST /upload/mask", postUpload],
]);

/** Browsers meet the gateway at these; there they are given the cookie by which they are known from then on. */
const cookieRoutes: ReadonlySet<string> = new Set(["GET /", "POST /prompt", "POST /upload/image", "POST /upload/mask"]);

/** Answers one request. Never throws. */
export async function answer(request: IncomingMessage, response: ServerResponse, parts: GatewayParts): Promise<void> {
  request.url = originForm(request.url ?? "/");
  const { path, query } = parsePath(request.url);
  response.on("close", () =>
    parts.metrics.requests.inc({
      method: request.method ?? "",
      status: response.headersSent ? response.statusCode : 0,
    }),
  );
  try {
    if (path.startsWith("/_gateway/") || path === "/metrics")
      return await answerOwn(path, request, response, query, parts);
    const visitor = await admit(request, query, parts, false);
    const settings = parts.settings();
    if (isRefusal(visitor)) return refuse(request, response, visitor.status, visitor.type, visitor.message);
    if (isInternal(path) && !visitor.deployer)
      return refuse(request, response, 404, "not_found", "there is no such route");
    if (declaresTooMuch(request, settings.maximumBodySize)) throw new BodyTooLargeError(settings.maximumBodySize);
    const route = `${request.method === "HEAD" ? "GET" : request.method} ${path}`;
    const clients = clientsOf(request, query);
    if (clients.length === 0 && cookieRoutes.has(route)) {
      const value = randomUUID();
      response.setHeader("set-cookie", setClientCookie(value));
      clients.push(cookieKey(value));
    }
    stripCredentials(request, query, settings);
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const exchange: Exchange = { request, response, path, query, visitor, clients, signal: gone.signal };
    await dispatch(route, exchange, parts);
  } catch (error) {
    explain(error as Error, request, response, parts);
  }
}

async function dispatch(route: string, exchange: Exchange, parts: GatewayParts): Promise<void> {
  const own = routes.get(route);
  if (own !== undefined) return own(exchange, parts);
  const [, id] = /^GET \/history\/([^/]+)$/.exec(route) ?? [];
  if (id !== undefined) return getPromptHistory(decodeOr(id), exchange, parts);
  return passOn(exchange, parts);
}

/** Everything that the gateway does not know: to the client's instance, or to the one that a mark names. */
async function passOn(exchange: Exchange, parts: GatewayParts): Promise<void> {
  const { request, response, query, visitor, signal } = exchange;
  const marked = knownMark(query.get("subfolder") ?? "", parts);
  const origin = marked === null ? undefined : parts.fleet.get(marked.instance);
  if (marked !== null && origin !== undefined) {
    unmark(exchange, marked.subfolder);
    return parts.passThrough.forward(request, response, origin);
  }
  const excluded = new Set<Instance>();
  const deadline = performance.now() + parts.holdTimeout;
  for (;;) {
    const instance = await findInstance(parts, exchange, { excluded, deadline });
    if (signal.aborted) return;
    if (instance === null) return noInstance(response, parts, visitor.release);
    try {
      return await parts.passThrough.forward(request, response, instance);
    } catch (error) {
      // What has a body may have been read in part, and what is no GET may have had its effect.
      const again =
        error instanceof UnansweredError && ["GET", "HEAD"].includes(request.method ?? "") && !hasBody(request);
      if (!again) throw error;
      parts.metrics.retries.inc();
      excluded.add(instance);
    }
  }
}

/** Answers an upgrade to a WebSocket. */
export async function upgrade(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  parts: GatewayParts,
): Promise<void> {
  socket.on("error", () => socket.destroy());
  request.url = originForm(request.url ?? "/");
  const { path, query } = parsePath(request.url);
  const visitor = await admit(request, query, parts, true);
  const settings = parts.settings();
  if (isRefusal(visitor)) return refuseUpgrade(socket, visitor.status, visitor.type, visitor.message);
  if (isInternal(path) && !visitor.deployer) return refuseUpgrade(socket, 404, "not_found", "there is no such route");
  const clients = clientsOf(request, query);
  stripCredentials(request, query, settings);
  if (path === "/ws") return parts.sessions.accept(request, socket, head, query, clients, visitor);
  const gone = new AbortController();
  socket.on("close", () => gone.abort());
  const attempts = { excluded: new Set<Instance>(), deadline: performance.now() + parts.holdTimeout };
  const instance = await findInstance(parts, { clients, visitor, signal: gone.signal }, attempts);
  if (instance !== null) parts.passThrough.forwardSocket(request, socket, head, instance);
  else refuseUpgrade(socket, 503, "no_ready_instance", "no instance is ready");
}

async function answerOwn(
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
  parts: GatewayParts,
): Promise<void> {
  const { settings, fleet, ledger, sessions, metrics } = parts;
  const admission = await admit(request, query, parts, false);
  const visitor: Visitor = isRefusal(admission) ? { deployer: false, release: null } : admission;
  const foreign = isRefusal(admission) && admission.status === 403;
  if (path === "/metrics") {
    const beside = isLoopback(request.socket.remoteAddress ?? "") && request.headers["x-forwarded-for"] === undefined;
    const allowed = visitor.deployer || (!foreign && (beside || hasApiKey(request.headers, query, settings(), false)));
    if (!allowed)
      return refuse(request, response, 401, "deployer_only", "metrics need the deployer's token or an API key");
    response.writeHead(200, { "content-type": metrics.contentType });
    response.end(await metrics.text());
    return;
  }
  if (path === "/_gateway/queue") {
    if (isRefusal(admission)) return refuse(request, response, admission.status, admission.type, admission.message);
    return sendJson(response, JSON.stringify(queueOf(metrics)));
  }
  if (!visitor.deployer) return refuse(request, response, 401, "deployer_only", "this needs the deployer's token");
  if (path === "/_gateway/status") {
    return sendJson(response, JSON.stringify(gatewayStatus(fleet, ledger, sessions.openSockets, parts.safe)));
  }
  return refuse(request, response, 404, "not_found", "there is no such route");
}

/** What an autoscaler asks for: the prompts of a release by its id, of the one only that serves. */
function queueOf({ queue }: GatewayParts["metrics"]): object {
  return queue === null
    ? { serving: null, prompts: {} }
    : { serving: queue.release, prompts: { [queue.release]: queue.prompts } };
}

function clientsOf(request: IncomingMessage, query: URLSearchParams): string[] {
  const named = query.get("clientId") ?? query.get("client_id");
  const cookie = cookiesOf(request.headers).get(clientCookie);
  return [...(named ? [clientKey(named)] : []), ...(cookie ? [cookieKey(cookie)] : [])];
}

/** Whether a path is below `/internal` for anybody who reads it, be it one who resolves `..` or one who joins slashes. */
function isInternal(path: string): boolean {
  return /^\/(api\/)?internal(\/|$)/.test(posix.normalize(`/${decodeAscii(path)}`));
}

/** Answers, and reads what the client still sends, so that its connection stays usable. */
function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  type: string,
  message: string,
): void {
  sendError(response, status, type, message);
  request.resume();
}

function explain(error: Error, request: IncomingMessage, response: ServerResponse, parts: GatewayParts): void {
  if (error instanceof BodyTooLargeError) {
    refuseTooLarge(request, response, error.maximum);
    return;
  }
  // Nobody is left to be told.
  if (response.destroyed || request.socket.destroyed) return;
  if (error instanceof NotLeadingError) {
    refuseNotLeading(response);
  } else if (error instanceof UnansweredError) {
    sendError(response, 502, "instance_unreachable", error.message, 1);
  } else {
    parts.log(`${request.method} ${request.url?.replace(/\?.*$/s, "")} failed: ${error.stack ?? error.message}`);
    sendError(response, 500, "gateway_error", error.message);
  }
  request.resume();
}

function refuseUpgrade(socket: Duplex, status: number, type: string, message: string): void {
  const body = errorBody(type, message);
  const headers = ["Content-Type: application/json", `Content-Length: ${Buffer.byteLength(body)}`, "Connection: close"];
  socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`, ...headers, "", body].join("\r\n"));
}
