import type { IncomingHttpHeaders } from "node:http";

/** Tells requests of one browser from another's where they name no client, so that they reach one instance. */
export const clientCookie = "comfyui-gateway-client";
/** Carries an API key to a WebSocket, for which a browser can set no header. */
export const apiKeyCookie = "comfyui-gateway-key";

/**
 * Whether a cookie is a login of its own at an application load balancer: whoever has it is let in there as the person whose it is. The load balancer
 * splits it over several (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html).
 */
export const isLoadBalancerSession = (name: string): boolean => /^AWSELBAuthSessionCookie(-\d+)?$/.test(name);

export function cookiesOf(headers: IncomingHttpHeaders): ReadonlyMap<string, string> {
  return new Map(
    parts(headers.cookie).map((part) => {
      const equals = part.indexOf("=");
      return [part.slice(0, equals), part.slice(equals + 1)] as const;
    }),
  );
}

/** A `Cookie` header without some cookies, by their names, or undefined when none is left. */
export function withoutCookies(header: string | undefined, goes: (name: string) => boolean): string | undefined {
  const left = parts(header).filter((part) => !goes(part.slice(0, part.indexOf("="))));
  return left.length === 0 ? undefined : left.join("; ");
}

/** A `Set-Cookie` value that makes a browser known to the gateway until it is closed. */
export function setClientCookie(value: string): string {
  return `${clientCookie}=${value}; Path=/; HttpOnly; SameSite=Lax`;
}

function parts(header: string | undefined): readonly string[] {
  return (header ?? "")
    .split(";")
    .map((part) => part.trim())
    .filter((part) => part.includes("="));
}
