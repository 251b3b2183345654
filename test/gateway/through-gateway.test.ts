import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { answers, endpoints, historyEntry, message } from "../support/comfyui-contract";
import { deployer, GatewayBench, target } from "../support/gateway-bench";
import { type StandIn, startStandIn } from "../support/stand-in";

/** What ComfyUI was recorded to do, seen through a gateway with two instances behind it. */
let bench: GatewayBench;
let instances: readonly StandIn[];

beforeAll(async () => {
  instances = await Promise.all([startStandIn(), startStandIn()]);
  bench = await GatewayBench.create();
  await bench.start();
  await bench.setTargets(
    "r1",
    instances.map((instance, index) => target(instance, `r1/${index}`)),
  );
});
afterAll(async () => {
  await bench.remove();
  await Promise.all(instances.map((instance) => instance.stop()));
});

const picture = (color: number) => ({
  "1": { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color } },
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "through/gateway" } },
  "3": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
});

test.each(endpoints.filter(([, path]) => !path.includes("internal")))(
  "%s %s is answered as without a gateway",
  async (method, path, status, type) => {
    const response = await bench.get(path, { method });
    await response.arrayBuffer();
    expect([response.status, response.headers.get("content-type")]).toEqual([status, type]);
  },
);

test.each(Object.entries(answers))("GET %s has the recorded form", async (path, form) => {
  const response = await bench.get(path, { headers: path.startsWith("/internal") ? deployer : {} });
  (form as z.ZodType).parse(await response.json());
});

describe("a prompt", () => {
  test("has the recorded messages and history, and its pictures are there", async () => {
    const client = await bench.socket("recorded", { features: { supports_preview_metadata: true } });
    const id = await bench.prompt("recorded", picture(255));
    await client.end(id);
    for (const each of client.messages) message.parse(each);
    expect(client.about(id).filter((type) => !/progress/.test(type))).toEqual([
      "execution_start",
      "execution_cached",
      "executing",
      "executing",
      "executed",
      "executing",
      "executed",
      "execution_success",
      "executing",
    ]);
    const record = await bench.result(id);
    historyEntry.parse(record);
    for (const node of ["2", "3"]) {
      const [image] = record.outputs[node]?.images ?? [];
      const response = await bench.get(`/view?${new URLSearchParams(image)}`);
      expect([response.status, response.headers.get("content-type")]).toEqual([200, "image/png"]);
      expect(
        Buffer.from(await response.arrayBuffer())
          .subarray(1, 4)
          .toString(),
      ).toBe("PNG");
    }
  });

  test("loads an upload, a mask and a result of another instance", async () => {
    const drawn = await bench.result(await bench.prompt("painter", picture(128)));
    const [result] = drawn.outputs["2"]?.images ?? [];
    const png = await (await bench.image(drawn)).blob();
    const form = new FormData();
    form.set("image", png, "mine.png");
    form.set("subfolder", "from clients");
    const upload = z
      .strictObject({ name: z.literal("mine.png"), subfolder: z.literal("from clients"), type: z.literal("input") })
      .parse(await (await bench.get("/upload/image", { method: "POST", body: form })).json());
    const maskForm = new FormData();
    // The alpha channel of a picture without one: a mask that hides nothing.
    const alpha = await bench.get(`/view?${new URLSearchParams({ ...result, channel: "a" })}`);
    maskForm.set("image", await alpha.blob(), "mask.png");
    maskForm.set("original_ref", JSON.stringify({ filename: upload.name, subfolder: upload.subfolder, type: "input" }));
    const masked = await bench.get("/upload/mask", { method: "POST", body: maskForm });
    expect(masked.status).toBe(200);
    const mask = (await masked.json()) as { name: string; subfolder: string };
    const names = [
      "from clients/mine.png",
      `${mask.subfolder}/${mask.name}`.replace(/^\//, ""),
      `${result?.subfolder}/${result?.filename} [output]`,
    ];
    const release = { ...deployer, "x-comfyui-release": "r1" };
    for (const client of ["one", "two", "three", "four"]) {
      for (const image of names) {
        const prompt = {
          "1": { class_type: "LoadImage", inputs: { image } },
          "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
        };
        const record = await bench.result(await bench.prompt(client, prompt, release));
        expect(record.status.status_str).toBe("success");
      }
    }
  });

  test("leaves its result when its instance has drained and gone", async () => {
    const id = await bench.prompt("painter", picture(7));
    const record = await bench.result(id);
    const mark = record.outputs["2"]?.images?.[0]?.subfolder ?? "";
    const index = /^@r1~2f(\d)\/through$/.exec(mark)?.[1] === "0" ? 0 : 1;
    const state = (each: number) => (each === index ? "draining" : "ready");
    await bench.setTargets(
      "r1",
      instances.map((instance, each) => target(instance, `r1/${each}`, { state: state(each) })),
    );
    await bench.drained(`r1/${index}`);
    await bench.setTargets(
      "r1",
      instances.flatMap((instance, each) => (each === index ? [] : [target(instance, `r1/${each}`)])),
    );
    await instances[index]?.stop("SIGKILL");
    historyEntry.parse(await bench.result(id));
    expect((await bench.image(await bench.result(id))).status).toBe(200);
  });
});
