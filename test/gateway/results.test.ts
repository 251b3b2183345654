import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(() => bench.remove());

describe("results of several instances", () => {
  test("are told apart though the instances give them the same name", async () => {
    const a = await bench.upstream({ name: "a" });
    const b = await bench.upstream({ name: "b" });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
    const ids = [await bench.prompt("one"), await bench.prompt("two")];
    expect([a.accepted.length, b.accepted.length]).toEqual([1, 1]);
    for (const id of ids) {
      const record = await bench.result(id);
      const [image] = record.outputs["1"]?.images ?? [];
      expect(image).toMatchObject({ filename: "ComfyUI_00001_.png", type: "output" });
      expect(await (await bench.image(record)).text()).toContain(id);
    }
  });

  test("are listed together in the order in which they ended", async () => {
    const a = await bench.upstream({ name: "a" });
    const b = await bench.upstream({ name: "b" });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
    const ids: string[] = [];
    for (const client of ["one", "two", "three", "one"]) {
      const id = await bench.prompt(client);
      await bench.result(id);
      ids.push(id);
    }
    expect(Object.keys(await bench.json("/history"))).toEqual(ids);
    expect(Object.keys(await bench.json("/api/history?max_items=2"))).toEqual(ids.slice(2));
    expect(Object.keys(await bench.json("/history?max_items=2&offset=1"))).toEqual(ids.slice(1, 3));
    expect(Object.keys(await bench.json("/history?offset=3"))).toEqual(ids.slice(3));
  });

  test("of an unknown prompt are empty", async () => {
    const a = await bench.upstream({ name: "a" });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const response = await bench.get("/history/unknown");
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({});
  });

  test("that a gateway has no note of are found by asking", async () => {
    const a = await bench.upstream({ name: "a" });
    const b = await bench.upstream({ name: "b" });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
    const body = JSON.stringify({ prompt: { "1": { class_type: "SaveImage", inputs: {} } }, prompt_id: "direct" });
    await fetch(`${b.url}/prompt`, { method: "POST", body });
    const image = await bench.image(await bench.result("direct"));
    expect(await image.text()).toBe("b drew ComfyUI_00001_.png for direct");
  });
});

describe("a view", () => {
  test("of a marked file can be a preview as long as the instance is there", async () => {
    const a = await bench.upstream({ name: "a" });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me", { "1": { class_type: "PreviewImage", inputs: { subfolder: "deep/er" } } });
    const [image] = (await bench.result(id)).outputs["1"]?.images ?? [];
    expect(image?.subfolder).toBe("@r1~2f0/deep/er");
    const preview = await bench.get(`/api/view?${new URLSearchParams({ ...image, preview: "webp;90" })}`);
    expect(await preview.text()).toBe(`preview of a drew ComfyUI_00001_.png for ${id}`);
    // Plugins serve files under routes of their own, with the same parameters.
    await bench.get(`/vhs/viewvideo?${new URLSearchParams(image)}`);
    expect(a.requests).toContain("GET /vhs/viewvideo?filename=ComfyUI_00001_.png&subfolder=deep%2Fer&type=temp");
  });

  test("of a file without a mark finds the instance that has it", async () => {
    const a = await bench.upstream({ name: "a" });
    const b = await bench.upstream({ name: "b" });
    b.files.set("output/x/only.png", Buffer.from("b's"));
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
    expect(await (await bench.get("/view?filename=only.png&subfolder=x")).text()).toBe("b's");
    expect((await bench.get("/view?filename=nowhere.png")).status).toBe(404);
  });

  test("of a folder that only looks marked is left as it is", async () => {
    const a = await bench.upstream({ name: "a" });
    a.files.set("output/@home/me.png", Buffer.from("at home"));
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    expect(await (await bench.get("/view?filename=me.png&subfolder=%40home")).text()).toBe("at home");
  });
});

describe("draining", () => {
  test("ends only when the queue is empty and every result is safe; then the instance is not needed any more", async () => {
    const old = await bench.upstream({ name: "old", duration: null });
    const next = await bench.upstream({ name: "next" });
    await bench.start();
    await bench.setTargets("r1", [target(old, "r1/0")]);
    const prompt = { "1": { class_type: "SaveImage", inputs: {} }, "2": { class_type: "PreviewImage", inputs: {} } };
    const ids = [await bench.prompt("me", prompt), await bench.prompt("me", prompt)];
    await bench.setTargets("r2", [target(old, "r1/0", { state: "draining" }), target(next, "r2/0")]);
    expect((await bench.status()).instances[0]).toMatchObject({ id: "r1/0", state: "draining", drained: false });
    old.finishOne();
    await bench.result(ids[0] ?? "");
    expect((await bench.status()).instances[0]?.drained).toBe(false);
    old.finishOne();
    await bench.drained("r1/0");

    await bench.setTargets("r2", [target(next, "r2/0")]);
    await old.kill();
    for (const id of ids) {
      const record = await bench.result(id);
      expect(record.status.status_str).toBe("success");
      for (const node of ["1", "2"]) {
        const [image] = record.outputs[node]?.images ?? [];
        const response = await bench.get(`/view?${new URLSearchParams(image)}`);
        expect(response.headers.get("content-type")).toBe("image/png");
        expect(await response.text()).toBe(`old drew ${image?.filename} for ${id}`);
      }
    }
    expect(Object.keys(await bench.json("/history"))).toEqual(ids);
  });

  test("does not end while a slow download is under way", async () => {
    const old = await bench.upstream({ name: "old" });
    await bench.start();
    await bench.setTargets("r1", [target(old, "r1/0")]);
    let open = () => {};
    old.gates.set(
      "/system_stats",
      new Promise((resolve) => {
        open = resolve;
      }),
    );
    const download = bench.get("/system_stats");
    await eventually("the request to reach the instance", () => old.requests.includes("GET /system_stats"));
    await bench.setTargets("r1", [target(old, "r1/0", { state: "draining" })]);
    await eventually("the queue to be known", async () => (await bench.status()).instances[0]?.queueRemaining === 0);
    expect((await bench.status()).instances[0]).toMatchObject({ inFlight: 1, drained: false });
    open();
    expect((await download).status).toBe(200);
    await bench.drained("r1/0");
  });

  test("of an instance that does not answer is not said to be over", async () => {
    const old = await bench.upstream({ name: "old" });
    await bench.start();
    await bench.setTargets("r1", [target(old, "r1/0")]);
    await old.kill();
    await bench.setTargets("r1", [target(old, "r1/0", { state: "draining" })]);
    await eventually("the gateway to notice", async () => (await bench.status()).instances[0]?.queueRemaining === null);
    expect((await bench.status()).instances[0]?.drained).toBe(false);
  });
});

describe("kept results", () => {
  async function drainedResult() {
    const old = await bench.upstream({ name: "old" });
    await bench.start();
    await bench.setTargets("r1", [target(old, "r1/0")]);
    const id = await bench.prompt("me");
    await bench.setTargets(null, [target(old, "r1/0", { state: "draining" })]);
    await bench.drained("r1/0");
    await bench.setTargets(null, []);
    await old.kill();
    return id;
  }

  test("survive a restart of the gateway", async () => {
    const id = await drainedResult();
    await bench.stop();
    await bench.start();
    expect(await (await bench.image(await bench.result(id))).text()).toContain(id);
  });

  test("are sent in ranges, and not again to who has them", async () => {
    const record = await bench.result(await drainedResult());
    const path = `/view?${new URLSearchParams(record.outputs["1"]?.images?.[0])}`;
    const range = await bench.get(path, { headers: { range: "bytes=4-7" } });
    expect([range.status, range.headers.get("content-range")]).toEqual([
      206,
      expect.stringMatching(/^bytes 4-7\/\d+$/),
    ]);
    expect(await range.text()).toBe("drew");
    expect(range.headers.get("content-disposition")).toBe('filename="ComfyUI_00001_.png"');
    expect((await bench.get(path, { headers: { range: "bytes=9999-" } })).status).toBe(416);
    const tag = range.headers.get("etag") ?? "";
    expect((await bench.get(path, { headers: { "if-none-match": tag } })).status).toBe(304);
    const head = await bench.get(path, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
  });

  test("go when their time is over, which begins when their instance went", async () => {
    await bench.setSettings({ resultRetention: 0 });
    const live = await bench.upstream({ name: "live" });
    await bench.start();
    await bench.setTargets("r1", [target(live, "r1/0")]);
    const id = await bench.prompt("me");
    await bench.result(id);
    await eventually("the result to be kept", async () =>
      (await bench.get("/metrics")).text().then((text) => !/outstanding_prompts 1/.test(text)),
    );
    // Every change of the targets looks for what is past its time.
    await bench.setTargets("r1", [target(live, "r1/0")]);
    expect(await bench.json(`/history/${id}`)).toHaveProperty(id);
    await bench.setTargets("r1", []);
    await live.kill();
    await eventually("the result to go", async () => !(id in (await bench.json(`/history/${id}`))));
  });

  test("go oldest first when they take too much room", async () => {
    const a = await bench.upstream({ name: "a" });
    await bench.setSettings({ maximumSpoolSize: 1_500 });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const ids: string[] = [];
    for (let index = 0; index < 5; index += 1) {
      const id = await bench.prompt("me");
      await bench.result(id);
      ids.push(id);
    }
    await bench.setTargets(null, [target(a, "r1/0", { state: "draining" })]);
    await bench.drained("r1/0");
    await bench.setTargets(null, []);
    await a.kill();
    const left = Object.keys(await bench.json("/history"));
    expect(left.length).toBeGreaterThan(0);
    expect(left.length).toBeLessThan(5);
    expect(left).toEqual(ids.slice(-left.length));
  });

  test("make no room for one that is larger than all may be", async () => {
    const a = await bench.upstream({ name: "a" });
    await bench.setSettings({ maximumSpoolSize: 1_500 });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const small = await bench.prompt("me");
    await bench.result(small);
    a.sizeOfFiles = 2_000;
    const large = await bench.prompt("me");
    await bench.result(large);
    await bench.setTargets(null, [target(a, "r1/0", { state: "draining" })]);
    await bench.drained("r1/0");
    await bench.setTargets(null, []);
    await a.kill();
    expect(await (await bench.image(await bench.result(small))).text()).toContain(small);
    expect((await bench.image(await bench.result(large))).status).toBe(404);
    expect(bench.log.join("\n")).toContain(`the result of prompt ${large} is kept without a file`);
  });

  test("can be removed by their client, in the spool as on the instance", async () => {
    const a = await bench.upstream({ name: "a" });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const [first, second] = [await bench.prompt("me"), await bench.prompt("me")];
    await bench.result(first);
    await bench.result(second);
    expect((await bench.post("/history", { delete: [first] })).status).toBe(200);
    expect(Object.keys(await bench.json("/history"))).toEqual([second]);
    expect([...a.history.keys()]).toEqual([second]);
    await bench.post("/api/history", { clear: true });
    expect(await bench.json("/history")).toEqual({});
    expect(a.history.size).toBe(0);
  });
});

describe("an instance that vanishes", () => {
  test("leaves an error for its unfinished prompts, and what had ended", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const done = await bench.prompt("me");
    a.finishOne();
    await bench.result(done);
    await eventually("the result to be kept", async () =>
      /outstanding_prompts 0/.test(await (await bench.get("/metrics", { headers: deployer })).text()),
    );
    const [running, waiting] = [await bench.prompt("me"), await bench.prompt("me")];
    await a.kill();
    await bench.setTargets("r1", []);
    for (const id of [running, waiting]) {
      const { status } = await bench.result(id);
      expect(status.status_str).toBe("error");
      expect(status.messages[0]).toMatchObject(["execution_error", { prompt_id: id, exception_type: "InstanceLost" }]);
    }
    expect(await (await bench.image(await bench.result(done))).text()).toContain(done);
    expect(bench.log.join("\n")).toContain("instance r1/0 was lost with 2 prompts");
  });

  test("and comes back as a new process leaves an error for what it had queued", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me");
    const { port } = a;
    await a.kill();
    const again = await bench.upstream({ name: "again", port });
    await bench.setTargets("r1", [target(again, "r1/0", { epoch: 2 })]);
    expect((await bench.result(id)).status.status_str).toBe("error");
    const next = await bench.prompt("me");
    expect((await bench.result(next)).status.status_str).toBe("success");
  });

  test("unnoticed, with another process answering in its place, leaves an error too", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const client = await bench.socket("me");
    const id = await bench.prompt("me");
    await a.kill();
    await bench.upstream({ name: "again", port: a.port });
    await client.end(id);
    expect(client.of("execution_error")).toHaveLength(1);
    expect((await bench.result(id)).status.status_str).toBe("error");
  });

  test("while the gateway is down is noticed at its next start", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me");
    await bench.stop();
    await a.kill();
    await bench.setTargets("r1", []);
    await bench.start();
    expect((await bench.result(id)).status.status_str).toBe("error");
  });

  test("from the targets only, still working, has its prompts finished", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me");
    await bench.setTargets("r1", []);
    a.finishOne();
    expect((await bench.result(id)).status.status_str).toBe("success");
  });
});

test("a prompt that runs over a restart of the gateway has its result collected", async () => {
  const a = await bench.upstream({ name: "a", duration: null });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const id = await bench.prompt("me");
  await bench.stop();
  a.finishOne();
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0", { state: "draining" })]);
  await bench.drained("r1/0");
  await bench.setTargets("r1", []);
  await a.kill();
  expect(await (await bench.image(await bench.result(id))).text()).toContain(id);
});
