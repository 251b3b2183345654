import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { isIPv4 } from "node:net";
import { apiKeyCookie, clientCookie, cookiesOf, withoutCookies } from "./cookies";
import { deployerTokenHeader, type GatewaySettings, releaseHeader } from "./targets";

/** Who a request is from, as far as it decides where the request may go. */
export interface Visitor {
  /** It carries the deployer's token. */
  readonly deployer: boolean;
  /** The release that the deployer asks for, or null for the serving one. */
  readonly release: string | null;
}

export interface Refusal {
  readonly status: 401 | 403;
  readonly type: string;
  readonly message: string;
}

/** Decides who may come in. `upgrade`: a WebSocket, for which browsers can set no header, may name its key otherwise. */
export function admit(
  { headers }: IncomingMessage,
  query: URLSearchParams,
  settings: GatewaySettings,
  upgrade: boolean,
): Visitor | Refusal {
  if (isForeignOrigin(headers)) {
    return {
      status: 403,
      type: "foreign_origin",
      message: `a page of ${headers.origin} must not call ${headers.host}`,
    };
  }
  const token = single(headers[deployerTokenHeader]);
  const release = single(headers[releaseHeader]) ?? null;
  const deployer = token !== undefined && matchesOne(token, [settings.deployerTokenHash]);
  if (token !== undefined && !deployer) {
    return { status: 403, type: "wrong_deployer_token", message: `${deployerTokenHeader} is not this service's` };
  }
  if (release !== null && !deployer) {
    return { status: 403, type: "deployer_only", message: `${releaseHeader} needs ${deployerTokenHeader}` };
  }
  if (deployer || settings.apiKeyHashes.length === 0 || hasApiKey(headers, query, settings, upgrade)) {
    return { deployer, release };
  }
  return {
    status: 401,
    type: "api_key_required",
    message: "this service needs an API key: Authorization: Bearer KEY, or X-API-Key: KEY",
  };
}

export function isRefusal(admission: Visitor | Refusal): admission is Refusal {
  return "status" in admission;
}

/** Whether a request carries an accepted API key; always false where no key is declared. */
export function hasApiKey(
  headers: IncomingHttpHeaders,
  query: URLSearchParams,
  settings: GatewaySettings,
  upgrade: boolean,
): boolean {
  const presented = [bearerOf(headers), single(headers["x-api-key"])];
  if (upgrade) {
    presented.push(query.get("api_key") ?? undefined);
    // A browser sends cookies to a socket that any page opens, so the page must be this host's own.
    if (isOwnPage(headers)) presented.push(cookiesOf(headers).get(apiKeyCookie));
  }
  return presented.some((key) => key !== undefined && matchesOne(key, settings.apiKeyHashes));
}

/**
 * Takes off what only the gateway may know, and `Origin`, which it has judged: ComfyUI would compare it with a `Host` that
 * the gateway sets. Plugins are strangers' code, so no key and no token reaches an instance.
 */
export function stripCredentials(headers: IncomingHttpHeaders, settings: GatewaySettings): void {
  delete headers[deployerTokenHeader];
  delete headers[releaseHeader];
  delete headers.origin;
  if (settings.apiKeyHashes.length > 0) {
    delete headers["x-api-key"];
    const bearer = bearerOf(headers);
    if (bearer !== undefined && matchesOne(bearer, settings.apiKeyHashes)) delete headers.authorization;
  }
  const cookie = withoutCookies(headers.cookie, [apiKeyCookie, clientCookie]);
  if (cookie === undefined) delete headers.cookie;
  else headers.cookie = cookie;
}

export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").toLowerCase();
  if (name === "localhost" || name === "::1" || name === "0:0:0:0:0:0:0:1") return true;
  const mapped = name.replace(/^::ffff:/, "");
  return isIPv4(mapped) && mapped.startsWith("127.");
}

/**
 * ComfyUI's own rule, which the gateway has to keep since it hides `Origin` from it: a page of another host may not call a
 * loopback host. Ports count only where both have one.
 */
function isForeignOrigin(headers: IncomingHttpHeaders): boolean {
  if (headers.origin === undefined || headers.host === undefined) return false;
  const host = hostOf(`http://${headers.host}`);
  if (host === null || !isLoopback(host.hostname)) return false;
  const origin = hostOf(headers.origin);
  if (origin === null) return true;
  const withPorts = host.port !== null && origin.port !== null;
  return host.hostname !== origin.hostname || (withPorts && host.port !== origin.port);
}

function isOwnPage(headers: IncomingHttpHeaders): boolean {
  if (headers.origin === undefined) return true;
  const [host, origin] = [hostOf(`http://${headers.host}`), hostOf(headers.origin)];
  return host !== null && origin !== null && host.hostname === origin.hostname;
}

/** Host name and port as written; the port is null where none is written. */
function hostOf(url: string): { readonly hostname: string; readonly port: string | null } | null {
  const [, hostname, port] =
    /^[a-z][a-z0-9+.-]*:\/\/(?:[^@/]*@)?(\[[^\]]*\]|[^:/?#]+)(?::(\d+))?(?:[/?#]|$)/i.exec(url) ?? [];
  return hostname === undefined ? null : { hostname: hostname.toLowerCase(), port: port ?? null };
}

function bearerOf(headers: IncomingHttpHeaders): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];
}

/** Compares with every hash, and in the same time whatever the key is. */
function matchesOne(secret: string, hashes: readonly string[]): boolean {
  const presented = createHash("sha256").update(secret).digest();
  return hashes.map((hash) => timingSafeEqual(presented, Buffer.from(hash, "hex"))).includes(true);
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
