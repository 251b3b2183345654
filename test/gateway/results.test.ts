import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GatewayBench, target } from "../support/gateway-bench";

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
