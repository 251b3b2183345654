import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { apiKeyCookie, clientCookie, cookiesOf, isLoadBalancerSession, withoutCookies } from "./cookies";
import { withQuery } from "./exchange";
import { type ForeignOrigins, hostOf } from "./foreign-origin";
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
export async function admit(
  request: IncomingMessage,
  query: URLSearchParams,
  {
    settings: currentSettings,
    origins,
  }: { readonly settings: () => GatewaySettings; readonly origins: ForeignOrigins },
  upgrade: boolean,
): Promise<Visitor | Refusal> {
  const { headers } = request;
  if (await origins.isForeign(request)) {
    return {
      status: 403,
      type: "foreign_origin",
      message: `a page of ${headers.origin} must not call ${headers.host}`,
    };
  }
  const settings = currentSettings();
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
 * What an application load balancer adds to the request of somebody who has logged in: who it is, and the token with which the identity provider knows him.
 * Nothing is concluded from it here, since whoever reaches the gateway another way can send the same.
 */
const loadBalancerHeaders = ["x-amzn-oidc-accesstoken", "x-amzn-oidc-data", "x-amzn-oidc-identity"];

/**
 * Takes off what only the gateway may know, and `Origin`, which it has judged: ComfyUI would compare it with a `Host` that
 * the gateway sets. Plugins are strangers' code, so no key, no token and no login of a load balancer reaches an instance.
 */
export function stripCredentials(request: IncomingMessage, query: URLSearchParams, settings: GatewaySettings): void {
  const { headers } = request;
  delete headers[deployerTokenHeader];
  delete headers[releaseHeader];
  delete headers.origin;
  for (const name of loadBalancerHeaders) delete headers[name];
  if (settings.apiKeyHashes.length > 0) {
    delete headers["x-api-key"];
    const bearer = bearerOf(headers);
    if (bearer !== undefined && matchesOne(bearer, settings.apiKeyHashes)) delete headers.authorization;
    // A query may have one of a plugin's own under this name.
    if (query.getAll("api_key").some((key) => matchesOne(key, settings.apiKeyHashes))) {
      query.delete("api_key");
      request.url = withQuery(request.url ?? "/", query);
    }
  }
  const cookie = withoutCookies(
    headers.cookie,
    (name) => name === apiKeyCookie || name === clientCookie || isLoadBalancerSession(name),
  );
  if (cookie === undefined) delete headers.cookie;
  else headers.cookie = cookie;
}

function isOwnPage(headers: IncomingHttpHeaders): boolean {
  if (headers.origin === undefined) return true;
  const [host, origin] = [hostOf(`http://${headers.host}`), hostOf(headers.origin)];
  return host !== null && origin !== null && host.hostname === origin.hostname;
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
