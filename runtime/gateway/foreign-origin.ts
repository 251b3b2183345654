import { lookup } from "node:dns/promises";
import type { IncomingMessage } from "node:http";
import { isIP, isIPv4 } from "node:net";

/** Finds the addresses of a host name; fails for one that has none. */
export type Resolve = (host: string) => Promise<readonly string[]>;

/** Milliseconds for which a host's answer counts, and hosts that are remembered. */
const remembered = 60_000;
const mostRemembered = 1_000;

const askSystem: Resolve = async (host) => (await lookup(host, { all: true })).map(({ address }) => address);

/**
 * ComfyUI's own rule, which the gateway has to keep since it hides `Origin` from it: a page of another host may not call a
 * loopback host, be it one by its name or by what its name resolves to. Ports count only where both have one; an origin
 * without a host, such as `null` of a page that is a file, is let in.
 */
export class ForeignOrigins {
  private readonly hosts = new Map<string, { readonly loopback: Promise<boolean>; readonly until: number }>();

  constructor(private readonly resolve: Resolve = askSystem) {}

  async isForeign({ headers, socket }: Pick<IncomingMessage, "headers" | "socket">): Promise<boolean> {
    if (headers.origin === undefined || headers.host === undefined) return false;
    const host = hostOf(`http://${headers.host}`);
    const origin = hostOf(headers.origin);
    if (host === null || origin === null) return false;
    const withPorts = host.port !== null && origin.port !== null;
    if (host.hostname === origin.hostname && (!withPorts || host.port === origin.port)) return false;
    if (isLoopback(host.hostname)) return true;
    // Who was reached over another interface was not reached by a name of a loopback address.
    return isLoopback(socket.localAddress ?? "") && !isIP(host.hostname) && this.resolvesToLoopback(host.hostname);
  }

  private resolvesToLoopback(host: string): Promise<boolean> {
    const now = performance.now();
    const known = this.hosts.get(host);
    if (known !== undefined && known.until > now) return known.loopback;
    const loopback = this.resolve(host).then(
      (addresses) => addresses.length > 0 && addresses.every(isLoopback),
      () => false,
    );
    this.hosts.delete(host);
    this.hosts.set(host, { loopback, until: now + remembered });
    for (const oldest of this.hosts.keys()) {
      if (this.hosts.size <= mostRemembered) break;
      this.hosts.delete(oldest);
    }
    return loopback;
  }
}

export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").toLowerCase();
  if (name === "localhost" || name === "::1" || name === "0:0:0:0:0:0:0:1") return true;
  const mapped = name.replace(/^::ffff:/, "");
  return isIPv4(mapped) && mapped.startsWith("127.");
}

/** Host name and port as written; the port is null where none is written. */
export function hostOf(url: string): { readonly hostname: string; readonly port: string | null } | null {
  const [, hostname, port] =
    /^[a-z][a-z0-9+.-]*:\/\/(?:[^@/]*@)?(\[[^\]]*\]|[^:/?#]+)(?::(\d+))?(?:[/?#]|$)/i.exec(url) ?? [];
  return hostname === undefined ? null : { hostname: hostname.toLowerCase(), port: port ?? null };
}
