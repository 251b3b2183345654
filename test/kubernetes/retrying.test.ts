import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { connectCluster, reasonOf, statusOf } from "../../runtime/kubernetes";
import type { Patience } from "../../runtime/kubernetes/retrying";
import { freePort } from "../support/free-port";

type Answer = (response: ServerResponse) => void;

const found: Answer = (response) => {
  response.setHeader("content-type", "application/json");
  response.end('{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"it"}}');
};
const status =
  (code: number): Answer =>
  (response) => {
    response.writeHead(code, { "content-type": "application/json" });
    response.end(JSON.stringify({ kind: "Status", message: `no: ${code}`, code }));
  };
const broken: Answer = (response) => {
  response.socket?.destroy();
};
const cut: Answer = (response) => {
  response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
  response.write('{"kind":');
  setImmediate(() => response.socket?.destroy());
};

/** What stands where an API server should be: answers one request after the other as it is told, then as one that works. */
describe("an API server that is away or busy", () => {
  let server: Server;
  let port: number;
  let answers: Answer[];
  let requests: string[];
  let said: string[];

  beforeEach(async () => {
    answers = [];
    requests = [];
    said = [];
    server = createServer((request, response) => {
      requests.push(request.method ?? "");
      request.resume().on("end", () => (answers.shift() ?? found)(response));
    });
    port = await freePort();
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  async function listen(): Promise<void> {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  }

  async function connect(more: Patience = {}) {
    const kubeconfig = JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "c", cluster: { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true } }],
      users: [{ name: "deployer", user: { token: "expired" } }],
      contexts: [{ name: "x", context: { cluster: "c", user: "deployer" } }],
      "current-context": "x",
    });
    const address = { kubeconfig, namespace: "n" };
    const { core } = await connectCluster(address, { progress: (text) => said.push(text), ...more });
    return core;
  }
  const name = { name: "it", namespace: "n" };
  const body = { metadata: { name: "it", resourceVersion: "1" } };

  test("is asked again for what can be read, until it answers, and that is said", async () => {
    const core = await connect();
    const read = core.readNamespacedConfigMap(name);
    await expect.poll(() => said.length, { timeout: 30_000 }).toBeGreaterThan(0);
    answers = [status(503), status(500), broken, cut];
    await listen();
    expect((await read).metadata?.name).toBe("it");
    expect(requests).toHaveLength(5);
    expect(said[0]).toMatch(/the API server is away or busy, and is asked again: .*ECONNREFUSED/);
    expect(said.at(-1)).toBe("the API server answers again");
  }, 60_000);

  test("gets what changes an object from a version on, or removes one, again as well", async () => {
    await listen();
    const core = await connect();
    answers = [broken];
    await core.replaceNamespacedConfigMap({ ...name, body });
    answers = [status(504)];
    await core.deleteNamespacedConfigMap(name);
    expect(requests).toEqual(["PUT", "PUT", "DELETE", "DELETE"]);
  });

  test("gets what makes an object again only where it was not carried out", async () => {
    await listen();
    const core = await connect();
    answers = [status(503), status(429)];
    await core.createNamespacedConfigMap({ namespace: "n", body });
    expect(requests).toHaveLength(3);
    answers = [broken];
    await expect(core.createNamespacedConfigMap({ namespace: "n", body })).rejects.toThrow();
    answers = [status(500)];
    const failure = await core.createNamespacedConfigMap({ namespace: "n", body }).catch((error: unknown) => error);
    expect([statusOf(failure), reasonOf(failure)]).toEqual([500, "no: 500 (HTTP 500)"]);
    expect(requests).toHaveLength(5);
  });

  test("is given up after the patience, with what it answered or the failure of the connection", async () => {
    await expect((await connect({ patience: 0 })).readNamespacedConfigMap(name)).rejects.toThrow("ECONNREFUSED");
    await listen();
    answers = [status(503)];
    const core = await connect({ patience: 0 });
    expect(statusOf(await core.readNamespacedConfigMap(name).catch((error: unknown) => error))).toBe(503);
    expect(said).toEqual([]);
  });

  test("is no longer asked once the one who asks is gone", async () => {
    const gone = new AbortController();
    const core = await connect({ signal: gone.signal });
    const read = core.readNamespacedConfigMap(name);
    const outcome = read.catch((error: Error) => error.message);
    await expect.poll(() => said.length, { timeout: 30_000 }).toBeGreaterThan(0);
    gone.abort(new Error("the engine is gone"));
    expect(await outcome).toBe("the engine is gone");
  });

  test("what it refuses is told at once; credentials that it does not accept with where they are", async () => {
    await listen();
    const core = await connect();
    answers = [status(403)];
    expect(statusOf(await core.readNamespacedConfigMap(name).catch((error: unknown) => error))).toBe(403);
    answers = [status(401)];
    await expect(core.readNamespacedConfigMap(name)).rejects.toThrow(
      `the API server http://127.0.0.1:${port} does not accept the credentials of user deployer in the kubeconfig given as content (HTTP 401)`,
    );
    expect(requests).toHaveLength(2);
  });
});
