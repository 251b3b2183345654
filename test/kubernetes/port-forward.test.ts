import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import { type Cluster, connectCluster, forwardTo, reasonOf, statusOf } from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";

// What needs no pod: test/cluster/open.test.ts has the rest.

let server: ApiServer;
/** Stands where an API server should be, and never answers. */
let silent: Server;
let listener: Server;
/** What is to be joined to a pod, and the client at its other end. */
let near: Socket;
let far: Socket;

const portOf = (one: Server) => (one.address() as { port: number }).port;
const listening = async () => {
  const one = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(one, "listening");
  return one;
};

beforeAll(async () => {
  server = await ApiServer.start();
  silent = await listening();
});
afterAll(async () => {
  silent.close();
  await server.stop();
});
beforeEach(async () => {
  listener = await listening();
  far = connect(portOf(listener), "127.0.0.1");
  [near] = (await once(listener, "connection")) as [Socket];
});
afterEach(() => {
  near.destroy();
  far.destroy();
  listener.close();
});

const asUser = (user: string) => connectCluster({ kubeconfig: server.kubeconfig(user), namespace: "default" });

/** What stands at a URL where an API server should be. */
const at = (url: string) =>
  connectCluster({
    kubeconfig: JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "test", cluster: { server: url, "insecure-skip-tls-verify": true } }],
      users: [{ name: "nobody", user: {} }],
      contexts: [{ name: "test", context: { cluster: "test", user: "nobody" } }],
      "current-context": "test",
    }),
    namespace: "default",
  });

const problems: string[] = [];
const forward = (cluster: Cluster) =>
  forwardTo(cluster, { pod: "studio-1", port: 8188 }, near, (problem) => problems.push(problem));

describe("a way to a pod that cannot be opened", () => {
  it("is refused in the API server's words to whoever may not", async () => {
    const error = await forward(await asUser("nobody")).catch((refused: unknown) => refused);
    expect(statusOf(error)).toBe(403);
    expect(reasonOf(error)).toMatch(/User "nobody" cannot get resource "pods\/portforward" .* \(HTTP 403\)/);
    expect(near.destroyed).toBe(false);
  });

  it("is told apart where the pod has gone", async () => {
    const error = await forward(await asUser("admin")).catch((refused: unknown) => refused);
    expect(statusOf(error)).toBe(404);
  });

  it("is given up without a word when the client goes meanwhile, and nothing of it stays", async () => {
    const cluster = await at(`http://127.0.0.1:${portOf(silent)}`);
    const forwarded = forward(cluster);
    const [asked] = (await once(silent, "connection")) as [Socket];
    near.destroy();
    await forwarded;
    asked.on("error", () => undefined).resume();
    await once(asked, "close");
    expect(problems).toEqual([]);
  });
});

describe("a way to a pod", () => {
  it("loses nothing of what comes in one piece with the answer that opens it", async () => {
    const http = createHttpServer().listen(0, "127.0.0.1");
    await once(http, "listening");
    const sockets = new WebSocketServer({ noServer: true });
    http.on("upgrade", (request, socket, head) => {
      socket.cork();
      sockets.handleUpgrade(request, socket, head, (opened) => {
        // Each channel begins with the port's number.
        for (const channel of [0, 1]) opened.send(Buffer.of(channel, 8188 & 255, 8188 >> 8));
        opened.send(Buffer.concat([Buffer.of(0), Buffer.from("hello")]));
        socket.uncork();
      });
    });
    try {
      await forward(await at(`http://127.0.0.1:${portOf(http)}`));
      const [data] = (await once(far, "data")) as [Buffer];
      expect(data.toString()).toBe("hello");
      far.destroy();
      await once(near, "close");
      expect(problems).toEqual([]);
    } finally {
      http.closeAllConnections();
      http.close();
    }
  });
});
