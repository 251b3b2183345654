import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Agent, request } from "node:https";
import type { AddressInfo } from "node:net";

/** A request that went through. */
export interface CountedRequest {
  /** Milliseconds of the process's clock. */
  readonly at: number;
  /** For example `watch pods` or `get nodes`. */
  readonly what: string;
  /** Bytes of the answer's body so far, as they are sent. */
  bytes: number;
}

/** What a kubeconfig with certificates in it says. */
interface Access {
  readonly server: string;
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Passes requests on to an API server, as the user of a kubeconfig, and counts them. Clients reach it without TLS. */
export class CountingProxy {
  readonly requests: CountedRequest[] = [];
  readonly #agent: Agent;

  private constructor(
    private readonly access: Access,
    private readonly server: Server,
  ) {
    const { ca, cert, key } = access;
    this.#agent = new Agent({ ca, cert, key, keepAlive: true });
    server.on("request", (incoming, outgoing) => this.#pass(incoming, outgoing));
  }

  static async before(kubeconfig: string): Promise<CountingProxy> {
    const proxy = new CountingProxy(accessIn(kubeconfig), createServer());
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  /** A kubeconfig, as its content, that leads through this. */
  get kubeconfig(): string {
    const { port } = this.server.address() as AddressInfo;
    const cluster = { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true };
    return JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "counted", cluster }],
      users: [{ name: "nobody", user: {} }],
      contexts: [{ name: "counted", context: { cluster: "counted", user: "nobody" } }],
      "current-context": "counted",
    });
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
    this.#agent.destroy();
  }

  #pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { method = "GET", url = "/", headers } = incoming;
    const counted: CountedRequest = { at: performance.now(), what: requestKind(method, url), bytes: 0 };
    this.requests.push(counted);
    const { host: _, ...passed } = headers;
    const upstream = request(new URL(url, this.access.server), { method, headers: passed, agent: this.#agent });
    upstream.on("response", (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      // A watch is open before anything has happened.
      outgoing.flushHeaders();
      answer.on("data", (chunk: Buffer) => {
        counted.bytes += chunk.length;
        outgoing.write(chunk);
      });
      answer.on("end", () => outgoing.end());
      answer.on("error", () => outgoing.destroy());
    });
    upstream.on("error", () => outgoing.destroy());
    outgoing.on("close", () => upstream.destroy());
    incoming.pipe(upstream);
  }
}

/** `watch pods`, `list pods`, `get nodes`, `put configmaps`, `get deployments/scale`. */
export function requestKind(method: string, url: string): string {
  const { pathname, searchParams } = new URL(url, "http://localhost");
  const steps = pathname.split("/").filter(Boolean);
  // /api/v1/… or /apis/GROUP/VERSION/…
  const rest = steps.slice(steps[0] === "apis" ? 3 : 2);
  const [resource = pathname, name, subresource] = rest[0] === "namespaces" && rest.length > 2 ? rest.slice(2) : rest;
  const what = subresource === undefined ? resource : `${resource}/${subresource}`;
  if (method !== "GET") return `${method.toLowerCase()} ${what}`;
  if (searchParams.get("watch") === "true") return `watch ${what}`;
  return `${name === undefined ? "list" : "get"} ${what}`;
}

function accessIn(kubeconfig: string): Access {
  const { clusters, users } = JSON.parse(readFileSync(kubeconfig, "utf8"));
  const { cluster } = clusters[0];
  const { user } = users[0];
  const decoded = (text: string) => Buffer.from(text, "base64");
  return {
    server: cluster.server,
    ca: decoded(cluster["certificate-authority-data"]),
    cert: decoded(user["client-certificate-data"]),
    key: decoded(user["client-key-data"]),
  };
}
