import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(() => bench.remove());

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
