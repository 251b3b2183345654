import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(() => bench.remove());

async function upload(
  content: string,
  name: string,
  fields: Record<string, string> = {},
  route = "/upload/image",
  headers: Record<string, string> = {},
) {
  const form = new FormData();
  form.set("image", new File([content], name));
  for (const [key, value] of Object.entries(fields)) form.set(key, value);
  const response = await bench.get(route, { method: "POST", body: form, headers });
  expect(response.status).toBe(200);
  return (await response.json()) as { name: string; subfolder: string; type: string };
}

const load = (image: string) => ({
  "1": { class_type: "LoadImage", inputs: { image } },
  "2": { class_type: "SaveImage", inputs: {} },
});

async function three() {
  const servers = [
    await bench.upstream({ name: "a" }),
    await bench.upstream({ name: "b" }),
    await bench.upstream({ name: "c" }),
  ] as const;
  await bench.start();
  await bench.setTargets(
    "r1",
    servers.map((server, index) => target(server, `r1/${index}`)),
  );
  return servers;
}

describe("an upload", () => {
  test.each([
    ["cat.png", {}, "cat.png"],
    ["cat.png", { subfolder: "pets" }, "pets/cat.png"],
    ["cat.png", { subfolder: "pets/small" }, "pets/small/cat.png [input]"],
    ["cat.png", { type: "temp" }, "cat.png [temp]"],
  ])("%s with %j can be named as %s whichever instance gets the prompt", async (name, fields, reference) => {
    const servers = await three();
    expect(await upload("meow", name, fields)).toMatchObject({ name });
    for (const client of ["one", "two", "three"]) await bench.result(await bench.prompt(client, load(reference)));
    expect(servers.map(({ accepted }) => accepted.length)).toEqual([1, 1, 1]);
  });

  test("is there for the prompts of the next release, and after a restart of the gateway", async () => {
    const old = await bench.upstream({ name: "old" });
    const next = await bench.upstream({ name: "next" });
    await bench.start();
    await bench.setTargets("r1", [target(old, "r1/0")]);
    await upload("meow", "cat.png");
    await bench.setTargets("r2", [target(next, "r2/0")]);
    await old.kill();
    await bench.stop();
    await bench.start();
    await bench.result(await bench.prompt("me", load("cat.png")));
    expect(next.files.get("input//cat.png")?.toString()).toBe("meow");
    expect(await (await bench.get("/view?filename=cat.png&type=input")).text()).toBe("meow");
    expect(await (await bench.get("/api/view?filename=cat.png&type=input&preview=webp")).text()).toBe(
      "preview of meow",
    );
  });

  test("is sent to an instance once, not with every prompt", async () => {
    const [a, b, c] = await three();
    await upload("meow", "cat.png");
    for (let index = 0; index < 9; index += 1) await bench.prompt(`client ${index}`, load("cat.png"));
    for (const { requests } of [a, b, c]) {
      expect(requests.filter((request) => request === "POST /upload/image")).toHaveLength(1);
    }
  });

  test("does not replace another one of the same name that went to another instance", async () => {
    const servers = await three();
    const names = [];
    for (const content of ["first", "second", "third", "first"]) {
      // Each without a cookie, so each may be answered by another instance.
      names.push((await upload(content, "cat.png")).name);
    }
    expect(names).toEqual(["cat.png", "cat (1).png", "cat (2).png", "cat.png"]);
    for (const client of ["one", "two", "three"]) {
      await bench.prompt(client, {
        ...load("cat.png"),
        "3": { class_type: "LoadImage", inputs: { image: "cat (1).png" } },
      });
    }
    for (const { files } of servers) {
      expect(files.get("input//cat.png")?.toString()).toBe("first");
      expect(files.get("input//cat (1).png")?.toString()).toBe("second");
    }
  });

  test("replaces another one when it says so", async () => {
    const servers = await three();
    await upload("first", "cat.png");
    for (const client of ["one", "two", "three"]) await bench.prompt(client, load("cat.png"));
    expect(await upload("second", "cat.png", { overwrite: "true" })).toMatchObject({ name: "cat.png" });
    for (const client of ["one", "two", "three"]) await bench.prompt(client, load("cat.png"));
    expect(servers.map(({ files }) => files.get("input//cat.png")?.toString())).toEqual(["second", "second", "second"]);
  });

  test("of a mask finds the picture that it belongs to, be it an upload or a result of another instance", async () => {
    const servers = await three();
    await upload("meow", "cat.png");
    const reference = JSON.stringify({ filename: "cat.png", subfolder: "", type: "input" });
    for (let index = 0; index < 3; index += 1) {
      const { name } = await upload(`mask ${index}`, `mask${index}.png`, { original_ref: reference }, "/upload/mask");
      expect(await (await bench.get(`/view?filename=${name}&type=input`)).text()).toBe(
        `meow masked with mask ${index}`,
      );
    }
    const id = await bench.prompt("me");
    const [image] =
      (await bench.result(id)).outputs["2"]?.images ?? (await bench.result(id)).outputs["1"]?.images ?? [];
    for (let index = 3; index < 6; index += 1) {
      const { name } = await upload(
        `mask ${index}`,
        `mask${index}.png`,
        { original_ref: JSON.stringify(image) },
        "/api/upload/mask",
      );
      expect(await (await bench.get(`/view?filename=${name}&type=input`)).text()).toContain(`for ${id} masked with`);
    }
    expect(servers.every(({ requests }) => requests.some((request) => request.endsWith("/upload/mask")))).toBe(true);
  });

  test("that an instance refuses is answered as it answers", async () => {
    const a = await bench.upstream({ name: "a" });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const form = new FormData();
    form.set("other", "x");
    expect((await bench.get("/upload/image", { method: "POST", body: form })).status).toBe(400);
  });

  test("goes to another instance when the first cannot be reached", async () => {
    const [a, b, c] = await three();
    await a.kill();
    await b.kill();
    await upload("meow", "cat.png");
    expect(c.files.get("input//cat.png")?.toString()).toBe("meow");
  });
});

test("a result can be the input of a prompt on another instance, also when its own is gone", async () => {
  const old = await bench.upstream({ name: "old" });
  const next = await bench.upstream({ name: "next" });
  await bench.start();
  await bench.setTargets("r1", [target(old, "r1/0")]);
  const id = await bench.prompt("me");
  const [image] = (await bench.result(id)).outputs["1"]?.images ?? [];
  const name = `${image?.subfolder}/${image?.filename} [output]`;
  await bench.prompt("me", load(name));
  await bench.setTargets("r2", [target(old, "r1/0", { state: "draining" }), target(next, "r2/0")]);
  await bench.drained("r1/0");
  await bench.setTargets("r2", [target(next, "r2/0")]);
  await old.kill();
  await bench.result(await bench.prompt("me", load(name)));
  expect(next.files.get(`output/${image?.subfolder}/${image?.filename}`)?.toString()).toContain(`old drew`);
});

test("uploads make room for newer ones, those first that were used last the longest ago", async () => {
  const a = await bench.upstream({ name: "a" });
  await bench.setSettings({ maximumSpoolSize: 250 });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  for (const name of ["1.png", "2.png", "3.png"]) await upload(name.padEnd(100, "x"), name);
  // The instance still has them all; the gateway's own are told by the log.
  await eventually("the first to go", () => bench.log.some((line) => line.includes("the upload input//1.png")));
  expect(bench.log.some((line) => line.includes("the upload input//2.png"))).toBe(false);
});
