import { Agent, type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ApiServer } from "../../support/api-server";
import type { HistoryRecord } from "../../support/gateway-bench";
import { type ClusterGateway, GatewayCluster } from "../../support/gateway-cluster";

let server: ApiServer;
let cluster: GatewayCluster;

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(async () => {
  await server?.stop();
});
beforeEach(async () => {
  cluster = await GatewayCluster.create(server);
});
afterEach(async () => {
  await cluster.remove();
});

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Sends clients where a Service would: to a gateway that was ready a moment ago, on connections that are kept. */
class Balancer {
  private ready: readonly ClusterGateway[] = [];
  private turn = 0;
  private stopped = false;
  private readonly agents = new Map<ClusterGateway, Agent>();
  private readonly probing: Promise<void>;

  constructor(private readonly gateways: () => readonly ClusterGateway[]) {
    this.probing = this.probe();
  }

  async call(method: string, path: string, body?: object): Promise<Answer> {
    while (this.ready.length === 0) await delay(10);
    this.turn += 1;
    const gateway = this.ready[this.turn % this.ready.length];
    if (gateway === undefined) throw new Error("no gateway is ready");
    const agent = this.agents.get(gateway) ?? new Agent({ keepAlive: true });
    this.agents.set(gateway, agent);
    return new Promise((resolve, reject) => {
      const outgoing = request(new URL(path, gateway.url), { method, agent }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
      });
      outgoing.on("error", (error) => reject(new Error(`${gateway.name}: ${method} ${path}: ${error.message}`)));
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.probing;
    for (const agent of this.agents.values()) agent.destroy();
  }

  private async probe(): Promise<void> {
    while (!this.stopped) {
      const all = this.gateways();
      const found = await Promise.all(all.map((gateway) => gateway.isReady()));
      this.ready = all.filter((_, index) => found[index]);
      await delay(200);
    }
  }
}

test("gateways are replaced one after the other under load, and every request is answered", async () => {
  const pods = await Promise.all([1, 2].map((index) => cluster.pod("r1-aaaaa", `x-${index}`, { duration: 20 })));
  await cluster.serve("r1-aaaaa");
  await cluster.gateway();
  await cluster.gateway();
  const balancer = new Balancer(() => cluster.gateways);
  let stopped = false;
  const finished: string[] = [];
  const worker = async (name: string) => {
    for (let count = 0; !stopped; count += 1) {
      const id = `${name}-${count}`;
      const prompt = { "1": { class_type: "SaveImage", inputs: {} } };
      const submitted = await balancer.call("POST", "/prompt", { prompt, client_id: name, prompt_id: id });
      expect([submitted.status, submitted.text]).toEqual([200, expect.stringContaining(id)]);
      let record: HistoryRecord | undefined;
      while (record === undefined) {
        const { status, text } = await balancer.call("GET", `/history/${id}`);
        expect([status, text]).toEqual([200, text]);
        record = (JSON.parse(text) as Record<string, HistoryRecord>)[id];
        if (record === undefined) await delay(20);
      }
      expect([id, record.status.status_str]).toEqual([id, "success"]);
      const file = record.outputs["1"]?.images?.[0];
      const image = await balancer.call("GET", `/view?${new URLSearchParams(file)}`);
      expect([image.status, image.text]).toEqual([200, expect.stringContaining(`for ${id}`)]);
      finished.push(id);
    }
  };
  const workers = Promise.all(["one", "two", "three"].map(worker));
  workers.catch(() => {
    stopped = true;
  });
  try {
    for (let replaced = 0; replaced < 3; replaced += 1) {
      const seen = finished.length;
      const old = await cluster.leader();
      await cluster.gateway();
      old.signal("SIGTERM");
      const exit = await Promise.race([old.program.exit, workers.then(() => null)]);
      expect([exit, old.program.output]).toEqual([0, expect.stringContaining("leads now")]);
      expect(await cluster.leader()).not.toBe(old);
      expect(finished.length).toBeGreaterThan(seen);
    }
  } finally {
    stopped = true;
    await workers;
    await balancer.stop();
  }
  expect(pods.flatMap(({ upstream }) => upstream.executed).toSorted()).toEqual(finished.toSorted());
  // What the first leader kept, the last one still has.
  const last = await cluster.leader();
  for (const id of finished) expect(Object.keys(await last.json(`/history/${id}`))).toEqual([id]);
});

test("a gateway that load balancers still send to goes on for as long as it is told, and has its clients' sockets opened at its successor", async () => {
  await cluster.pod("r1-aaaaa", "x-1");
  await cluster.serve("r1-aaaaa");
  const parameters = ["--farewell", "3600", "--keep-alive", "735"];
  const old = await cluster.gateway({ parameters });
  const other = await cluster.gateway({ parameters });
  const client = await cluster.socket(old, "me");
  old.signal("SIGTERM");
  expect(await client.closed).toBe(1012);
  expect(await cluster.leader()).toBe(other);
  expect(old.program.output).toContain("new connections are taken for 3600 s more");
  expect(await old.isReady()).toBe(false);
  // On a connection of its own each: the load balancer's next requests.
  const again = await cluster.socket(old, "me");
  const id = await old.prompt("me");
  await again.end(id);
  expect(await old.image(await old.result(id))).toContain(`for ${id}`);
  expect(old.program.child.exitCode).toBeNull();
});

test("whether a gateway is ready is told without a key, under any host, and on connections that outlive a load balancer's", async () => {
  await cluster.remove();
  cluster = await GatewayCluster.create(server, { apiKeyHashes: ["0".repeat(64)] });
  await cluster.pod("r1-aaaaa", "x-1");
  await cluster.serve("r1-aaaaa");
  const gateway = await cluster.gateway({ parameters: ["--keep-alive", "735"] });
  expect((await fetch(`${gateway.url}/system_stats`)).status).toBe(401);
  const headers = { host: "10.0.0.7:8188", origin: "https://elsewhere.example", connection: "keep-alive" };
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request(`${gateway.url}/_gateway/ready`, { headers }, resolve).on("error", reject).end();
  });
  answer.resume();
  expect([answer.statusCode, answer.headers["keep-alive"]]).toEqual([200, "timeout=735"]);
});

test("a gateway without another one ends as one always did, and gives its Lease up at the end", async () => {
  await cluster.pod("r1-aaaaa", "x-1");
  await cluster.serve("r1-aaaaa");
  const gateway = await cluster.gateway();
  const client = await cluster.socket(gateway, "me");
  gateway.signal("SIGTERM");
  expect(await client.closed).toBe(1012);
  expect(await gateway.program.exit).toBe(0);
  expect(await cluster.holder()).toBe("");
});
