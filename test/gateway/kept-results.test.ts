import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(() => bench.remove());

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
    a.files.leastSize = 2_000;
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
