import { createServer } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;

beforeEach(async () => {
  bench = await GatewayBench.create({}, { holdTimeout: 5_000 });
});
afterEach(() => bench.remove());

async function two(duration: number | null = 0) {
  const a = await bench.upstream({ name: "a", duration });
  const b = await bench.upstream({ name: "b", duration });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
  return { a, b };
}

/** A port on which nothing listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  const port = await new Promise<number>((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port)),
  );
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe("where a prompt goes", () => {
  test("all prompts of one client go to one instance, with and without /api", async () => {
    const { a, b } = await two();
    for (let index = 0; index < 3; index += 1) await bench.prompt("me");
    const response = await bench.post("/api/prompt", {
      client_id: "me",
      prompt: { "1": { class_type: "X", inputs: {} } },
    });
    expect(response.status).toBe(200);
    expect([a.accepted.length, b.accepted.length].sort()).toEqual([0, 4]);
  });

  test("clients that name no id are told apart by a cookie", async () => {
    const { a, b } = await two();
    const body = { prompt: { "1": { class_type: "X", inputs: {} } } };
    const first = await bench.post("/prompt", body);
    const cookie = first.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    expect(cookie).toMatch(/^comfyui-gateway-client=/);
    for (let index = 0; index < 3; index += 1) {
      const again = await bench.post("/prompt", body, { cookie });
      expect(again.headers.getSetCookie()).toEqual([]);
    }
    expect([a.accepted.length, b.accepted.length].sort()).toEqual([0, 4]);
    for (const headers of [...a.requestHeaders, ...b.requestHeaders]) expect(headers.cookie).toBeUndefined();
  });

  test("others go to the shortest queue", async () => {
    const { a, b } = await two(null);
    for (let index = 0; index < 6; index += 1) await bench.prompt(`client ${index}`);
    expect([a.accepted.length, b.accepted.length]).toEqual([3, 3]);
    const seen = async () => (await bench.status()).instances.map(({ queueRemaining }) => queueRemaining).join();
    await eventually("both queues to be seen", async () => (await seen()) === "3,3");
    for (let index = 0; index < 3; index += 1) a.finishOne();
    await eventually("a's queue to be seen empty", async () => (await seen()) === "0,3");
    for (let index = 0; index < 3; index += 1) await bench.prompt(`later client ${index}`);
    expect(a.accepted).toHaveLength(6);
  });

  test("only the serving release gets prompts; a candidate those of the deployer", async () => {
    const { a } = await two();
    const candidate = await bench.upstream({ name: "candidate" });
    await bench.setTargets("r1", [target(a, "r1/0"), target(candidate, "r2/0")]);
    await bench.prompt("me");
    expect(candidate.accepted).toEqual([]);
    const id = await bench.prompt("me", undefined, { ...deployer, "x-comfyui-release": "r2" });
    expect(candidate.accepted).toEqual([id]);
    const image = await bench.image(await bench.result(id));
    expect(await image.text()).toMatch(/^candidate drew/);
    await bench.prompt("me");
    expect(a.accepted).toHaveLength(2);
    for (const headers of candidate.requestHeaders) {
      expect(headers).not.toHaveProperty("x-comfyui-deployer-token");
      expect(headers).not.toHaveProperty("x-comfyui-release");
    }
  });

  test("a release header without the deployer's token, or with another one, is refused", async () => {
    await two();
    const release = { "x-comfyui-release": "r1" };
    expect((await bench.post("/prompt", {}, release)).status).toBe(403);
    expect((await bench.post("/prompt", {}, { ...release, "x-comfyui-deployer-token": "guess" })).status).toBe(403);
  });
});

describe("a prompt whose instance does not answer", () => {
  test("goes to another one when the connection is refused", async () => {
    const b = await bench.upstream({ name: "b" });
    await bench.start();
    const dead = { url: `http://127.0.0.1:${await closedPort()}` };
    await bench.setTargets("r1", [target(dead, "r1/0"), target(b, "r1/1")]);
    const ids = await Promise.all(["a", "b", "c", "d"].map((client) => bench.prompt(client)));
    expect(b.accepted.toSorted()).toEqual(ids.toSorted());
  });

  test("goes to another one when the connection is cut before the prompt was taken", async () => {
    const { a, b } = await two();
    a.cutNextPrompt = "before";
    b.cutNextPrompt = "before";
    const id = await bench.prompt("me");
    expect([...a.accepted, ...b.accepted]).toEqual([id]);
    expect(bench.log.join("\n")).toContain(`prompt ${id} goes to another instance`);
  });

  test("is not run twice when the connection is cut after the prompt was taken", async () => {
    const { a, b } = await two();
    a.cutNextPrompt = "after";
    b.cutNextPrompt = "after";
    const id = await bench.prompt("me");
    const { outputs } = await bench.result(id);
    expect(Object.keys(outputs)).toEqual(["1"]);
    expect([...a.accepted, ...b.accepted]).toEqual([id]);
  });

  test("is not sent when its client has given up", async () => {
    const a = await bench.upstream({ name: "a" });
    await bench.start();
    await bench.setTargets("r1", []);
    const giveUp = new AbortController();
    const body = JSON.stringify({ prompt: { "1": { class_type: "X", inputs: {} } } });
    const held = bench.get("/prompt", { method: "POST", body, signal: giveUp.signal });
    await eventually("it to be held", async () =>
      (await (await bench.get("/metrics")).text()).includes("comfyui_gateway_held 1"),
    );
    giveUp.abort();
    await expect(held).rejects.toThrow();
    await eventually("it to be given up", async () =>
      (await (await bench.get("/metrics")).text()).includes("comfyui_gateway_held 0"),
    );
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me");
    expect(a.accepted).toEqual([id]);
  });

  test("may be compressed", async () => {
    const { a, b } = await two();
    const body = gzipSync(JSON.stringify({ prompt: { "1": { class_type: "X", inputs: {} } }, prompt_id: "packed" }));
    const headers = { "content-encoding": "gzip" };
    expect((await bench.get("/prompt", { method: "POST", body, headers })).status).toBe(200);
    expect([...a.accepted, ...b.accepted]).toEqual(["packed"]);
    const bomb = gzipSync(Buffer.alloc(11 * 2 ** 20));
    expect((await bench.get("/prompt", { method: "POST", body: bomb, headers })).status).toBe(413);
  });

  test("keeps the id that its client chose, and the digits of its seeds", async () => {
    const { a, b } = await two();
    const body =
      '{"prompt": {"1": {"class_type": "X", "inputs": {"seed": 18446744073709551615}}}, "prompt_id": "mine/../1"}';
    const response = await bench.get("/prompt", { method: "POST", body });
    expect(await response.json()).toMatchObject({ prompt_id: "mine/../1" });
    expect([...a.accepted, ...b.accepted]).toEqual(["mine/../1"]);
    await eventually("the result", async () =>
      (await (await bench.get(`/history/${encodeURIComponent("mine/../1")}`)).text()).includes("18446744073709551615"),
    );
  });
});

describe("while no instance is ready", () => {
  test("a prompt is held until there is one", async () => {
    const a = await bench.upstream({ name: "a" });
    await bench.start();
    await bench.setTargets(null, []);
    const held = bench.prompt("me");
    await bench.setTargets("r1", [target(a, "r1/0")]);
    expect(a.accepted).toEqual([await held]);
  });

  test("a request is answered with 503 in the end, which says why and when to come again", async () => {
    await bench.remove();
    bench = await GatewayBench.create({}, { holdTimeout: 20 });
    await bench.start();
    await bench.setTargets("r7", []);
    for (const response of [await bench.post("/prompt", { prompt: {} }), await bench.get("/object_info")]) {
      expect(response.status).toBe(503);
      expect(response.headers.get("retry-after")).toMatch(/^\d+$/);
      expect(await response.json()).toMatchObject({
        error: { type: "no_ready_instance", message: expect.stringContaining("r7") },
      });
    }
  });
});

describe("ComfyUI's own errors", () => {
  test("pass as they are: validation, and what is not JSON", async () => {
    await two();
    const invalid = await bench.post("/prompt", {
      prompt: { "1": { class_type: "LoadImage", inputs: { image: "no" } } },
    });
    expect(invalid.status).toBe(400);
    expect(await invalid.json()).toMatchObject({ error: { type: "prompt_outputs_failed_validation" } });
    const garbage = await bench.get("/prompt", { method: "POST", body: "garbage" });
    expect(garbage.status).toBe(500);
    expect(garbage.headers.get("content-type")).toContain("text/plain");
    expect(await garbage.text()).toContain("Server got itself in trouble");
  });

  test("leave nothing behind that a drain would wait for", async () => {
    const { a } = await two();
    await bench.post("/prompt", { client_id: "me", prompt: {} });
    await bench.setTargets("r1", [target(a, "r1/0", { state: "draining" })]);
    await bench.drained("r1/0");
  });
});
