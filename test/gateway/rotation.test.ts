import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually, GatewayBench, type HistoryRecord, type TestClient, target } from "../support/gateway-bench";
import type { Upstream } from "../support/gateway-upstream";

let bench: GatewayBench;
/** One connection for each client, kept as long as the gateway keeps it. */
const agents: Agent[] = [];

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(async () => {
  for (const agent of agents.splice(0)) agent.destroy();
  await bench.remove();
});

interface Finished {
  readonly id: string;
  readonly record: HistoryRecord;
  readonly image: string;
}

function clientAgent(): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agents.push(agent);
  return agent;
}

async function call(
  agent: Agent,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(new URL(path, bench.url), { method, agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
    });
    outgoing.on("error", reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** As API clients work: submit, poll the history, fetch the picture. Any failed request fails the test. */
async function runPrompt(agent: Agent, client: string): Promise<Finished> {
  const prompt = { "1": { class_type: "SaveImage", inputs: {} } };
  const submitted = await call(agent, "POST", "/prompt", { prompt, client_id: client });
  expect(submitted.status, submitted.text).toBe(200);
  const { prompt_id: id } = JSON.parse(submitted.text) as { prompt_id: string };
  for (;;) {
    const { status, text } = await call(agent, "GET", `/history/${id}`);
    expect(status, text).toBe(200);
    const record = (JSON.parse(text) as Record<string, HistoryRecord>)[id];
    if (record === undefined) {
      await delay(20);
      continue;
    }
    const file = record.outputs["1"]?.images?.[0];
    const image = await call(agent, "GET", `/view?${new URLSearchParams(file)}`);
    expect(image.status).toBe(200);
    return { id, record, image: image.text };
  }
}

test("rotations under load lose no prompt, cut no request and no socket, and keep every result", async () => {
  const rotations = 4;
  const instancesPerRelease = 2;
  let instances: { upstream: Upstream; id: string }[] = [];
  const startRelease = async (release: string) =>
    Promise.all(
      Array.from({ length: instancesPerRelease }, async (_, index) => ({
        upstream: await bench.upstream({ name: `${release}/${index}`, duration: 15 }),
        id: `${release}/${index}`,
      })),
    );
  const targets = (list: typeof instances, state: "ready" | "draining") =>
    list.map(({ upstream, id }) => target(upstream, id, { state }));

  instances = await startRelease("r1");
  await bench.setTargets("r1", targets(instances, "ready"));
  await bench.start();

  let stopped = false;
  const finished: Finished[] = [];
  const sockets: { readonly client: TestClient; readonly prompts: string[] }[] = [];
  const workers = Array.from({ length: 6 }, async (_, index) => {
    const agent = clientAgent();
    const name = `client-${index}`;
    // Half of them listen on a socket, which they keep throughout.
    const client = index % 2 === 0 ? await bench.socket(name, { features: {} }) : null;
    const prompts: string[] = [];
    if (client !== null) sockets.push({ client, prompts });
    while (!stopped) {
      const result = await runPrompt(agent, name);
      prompts.push(result.id);
      finished.push(result);
    }
  });
  const all = Promise.all(workers);

  for (let revision = 2; revision < 2 + rotations; revision += 1) {
    const release = `r${revision}`;
    const seen = finished.length;
    await Promise.race([all, eventually("work to go on", () => finished.length > seen + 10)]);
    const old = instances;
    instances = await startRelease(release);
    await bench.setTargets(release, [...targets(old, "ready"), ...targets(instances, "ready")]);
    await bench.setTargets(release, [...targets(old, "draining"), ...targets(instances, "ready")]);
    for (const { id } of old) await bench.drained(id);
    await bench.setTargets(release, targets(instances, "ready"));
    await Promise.all(old.map(({ upstream }) => upstream.kill()));
  }
  const seen = finished.length;
  await Promise.race([all, eventually("work to go on", () => finished.length > seen + 10)]);
  stopped = true;
  await all;

  const releases = new Set(finished.map(({ image }) => image.split("/")[0]));
  expect([...releases].toSorted()).toEqual(["r1", "r2", "r3", "r4", "r5"]);
  expect(new Set(finished.map(({ id }) => id)).size).toBe(finished.length);
  for (const { id, record, image } of finished) {
    expect(record.status.status_str).toBe("success");
    expect(image).toContain(`for ${id}`);
  }
  for (const { client, prompts } of sockets) {
    expect(client.socket.readyState).toBe(client.socket.OPEN);
    for (const id of prompts) {
      await client.end(id);
      expect(client.about(id)).toEqual([
        "execution_start",
        "execution_cached",
        "executing",
        "progress",
        "executed",
        "execution_success",
        "executing",
      ]);
    }
  }
  // What ran on instances that are long gone is still there, byte for byte.
  for (const { id, image } of finished) {
    expect(await (await bench.image(await bench.result(id))).text()).toBe(image);
  }
});

test("a release that serves again after another has its clients, its instances and its results back", async () => {
  const a = await bench.upstream({ name: "a", duration: null });
  const b = await bench.upstream({ name: "b" });
  await bench.setTargets("r1", [target(a, "r1/0")]);
  await bench.start();
  const client = await bench.socket("me");
  const first = await bench.prompt("me");
  await bench.setTargets("r2", [target(a, "r1/0", { state: "draining" }), target(b, "r2/0")]);
  const second = await bench.prompt("me");
  await client.end(second);
  await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r2/0", { state: "draining" })]);
  const third = await bench.prompt("me");
  await bench.drained("r2/0");
  a.finishOne();
  a.finishOne();
  for (const id of [first, third]) await client.end(id);
  expect([a.accepted, b.accepted]).toEqual([[first, third], [second]]);
  await bench.setTargets("r1", [target(a, "r1/0")]);
  await b.kill();
  expect(await (await bench.image(await bench.result(second))).text()).toContain(`b drew`);
  for (const id of [first, third]) expect((await bench.result(id)).status.status_str).toBe("success");
});

test("generations in quick succession leave what the last one says", async () => {
  const a = await bench.upstream({ name: "a" });
  const b = await bench.upstream({ name: "b" });
  await bench.start();
  const generations = 60;
  for (let generation = 1; generation <= generations; generation += 1) {
    const [serving, upstream] = generation % 2 === 0 ? (["r1", a] as const) : (["r2", b] as const);
    // The same id is another process now and then.
    const instance = target(upstream, `${serving}/0`, { epoch: generation % 3 });
    await bench.replace("targets.json", { generation: 1_000 + generation, serving, instances: [instance] });
  }
  await eventually("the last one to be applied", async () => (await bench.status()).generation === 1_000 + generations);
  expect(await bench.status()).toMatchObject({ serving: "r1", instances: [{ id: "r1/0", state: "ready" }] });
  const client = await bench.socket("me");
  const id = await bench.prompt("me");
  await client.end(id);
  expect([a.accepted, b.accepted]).toEqual([[id], []]);
});

test("a gateway that stops answers what is under way, and no kept connection sees a reset", async () => {
  await bench.remove();
  bench = await GatewayBench.create({}, { shutdown: { keepAliveGrace: 1_000, deadline: 10_000 } });
  const a = await bench.upstream({ name: "a" });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const client = await bench.socket("me");
  const agent = clientAgent();
  await call(agent, "GET", "/system_stats");
  let open = () => {};
  a.gates.set(
    "/slow",
    new Promise((resolve) => {
      open = resolve;
    }),
  );
  const { url } = bench;
  const underWay = fetch(`${url}/slow`);
  await eventually("the request to be under way", () => a.requests.includes("GET /slow"));
  const idle = clientAgent();
  await call(idle, "GET", "/system_stats");

  const stopping = bench.stop();
  expect(await client.closed).toBe(1012);
  const answer = await new Promise<{ status: number | undefined; connection: string | undefined }>(
    (resolve, reject) => {
      request(`${url}/system_stats`, { agent: idle }, (response) => {
        response.resume();
        resolve({ status: response.statusCode, connection: response.headers.connection });
      })
        .on("error", reject)
        .end();
    },
  );
  expect(answer).toEqual({ status: 200, connection: "close" });
  open();
  expect((await underWay).status).toBe(404);
  await stopping;
  await expect(fetch(url)).rejects.toThrow();
});
