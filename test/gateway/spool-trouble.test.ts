import { mkdir, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";
import { bundleGateway, GatewayProgram } from "../support/gateway-program";

let bench: GatewayBench;
let program: GatewayProgram | null = null;

beforeEach(async () => {
  bench = await GatewayBench.create({}, { holdTimeout: 500 });
});
afterEach(async () => {
  await program?.kill();
  program = null;
  await bench.remove();
});

const spool = (...names: readonly string[]) => join(bench.folder, "spool", ...names);

async function nothingOutstanding(): Promise<void> {
  await eventually("every result to be kept", async () =>
    (await (await bench.get("/metrics")).text()).includes("outstanding_prompts 0"),
  );
}

test("a disk without room refuses no prompt and drops no file: the instance is needed until there is room", async () => {
  const a = await bench.upstream({ name: "a" });
  a.files.leastSize = 200_000;
  await bench.setTargets("r1", [target(a, "r1/0")]);
  program = new GatewayProgram(
    await bundleGateway(bench.folder),
    ["--folder", bench.folder, "--port", "0"],
    64 * 2 ** 10,
  );
  const url = await program.listening();
  const metrics = async () => (await fetch(`${url}/metrics`)).text();
  const prompt = { "1": { class_type: "SaveImage", inputs: {} } };
  // The second one's note is too large as well.
  for (const [id, padding] of [
    ["p", ""],
    ["q", "x".repeat(100_000)],
  ]) {
    const body = JSON.stringify({ prompt, prompt_id: id, extra_data: { padding } });
    expect((await fetch(`${url}/prompt`, { method: "POST", body })).status).toBe(200);
  }
  await eventually("both to have run", () => a.executed.length === 2);
  await bench.setTargets(null, [target(a, "r1/0", { state: "draining" })]);
  // More looks than a file that the instance itself fails to give gets.
  const looks = () => a.requests.filter((request) => request.startsWith("GET /view")).length;
  await eventually("the gateway to have tried often", () => looks() > 12);
  expect(await metrics()).toContain("outstanding_prompts 2");
  const status = await (await fetch(`${url}/_gateway/status`, { headers: deployer })).json();
  expect(status).toMatchObject({ instances: [{ queueRemaining: 0, drained: false }] });
  const record = (await (await fetch(`${url}/history/p`)).json()) as { p: { outputs: unknown } };
  expect(JSON.stringify(record.p.outputs)).toContain("ComfyUI_00001_.png");
  expect(program.output).toContain("prompts cannot be noted at the moment: EFBIG");
  expect(program.output).toMatch(/the result of prompt . on r1\/0 is not kept yet: EFBIG/);
  await program.kill();

  await bench.start();
  await bench.drained("r1/0");
  await bench.setTargets(null, []);
  await a.kill();
  const image = await (await bench.image(await bench.result("p"))).text();
  expect([image.length, image.slice(0, 35)]).toEqual([200_000, "a drew ComfyUI_00001_.png for p...."]);
});

test("a result that was kept, but not struck off before a kill, is not replaced by a loss", async () => {
  const a = await bench.upstream({ name: "a", duration: null });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const id = await bench.prompt("me");
  const [name = ""] = await readdir(spool("prompts"));
  const note = await readFile(spool("prompts", name));
  a.finishOne();
  await bench.result(id);
  await nothingOutstanding();
  await bench.stop();
  await a.kill();
  await writeFile(spool("prompts", name), note);
  await bench.start();
  await bench.setTargets(null, []);
  await nothingOutstanding();
  expect(await (await bench.image(await bench.result(id))).text()).toContain(`for ${id}`);
});

test("a spool with damaged files is used without them, each said in the log", async () => {
  const a = await bench.upstream({ name: "a" });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const id = await bench.prompt("me");
  await bench.result(id);
  await nothingOutstanding();
  await bench.stop();
  await a.kill();
  const note = { id: "x", instance: { id: "r1/0", release: "r1", url: "nowhere", epoch: 1 }, clientId: null };
  const damage: Readonly<Record<string, string>> = {
    "results/empty": "",
    "results/cut/meta.json": '{"promptId": "x", "inst',
    "uploads/cut/meta.json": "{}",
    "uploads/file": "",
    "prompts/cut.json": "{",
    "prompts/bad-url.json": JSON.stringify({ ...note, clients: [], request: "{}" }),
    "prompts/folder/file": "",
    "prompts/left.json.123.tmp": "{",
    "departures.json": "}",
    "incoming/left": "half",
  };
  for (const [path, content] of Object.entries(damage)) {
    await mkdir(join(spool(path), ".."), { recursive: true });
    await writeFile(spool(path), content);
  }
  bench.log.length = 0;
  await bench.start();
  expect(await (await bench.image(await bench.result(id))).text()).toContain(`for ${id}`);
  const log = bench.log.join("\n");
  for (const name of ["empty", "cut", "file", "cut.json", "bad-url.json", "folder"]) {
    expect(log).toMatch(new RegExp(`damaged (result|upload|note).* is removed.*: ${name}: `));
  }
  expect(await readdir(spool("prompts"))).toEqual([]);
  expect(await readdir(spool("incoming"))).toEqual([]);
});

describe("a slow download of a kept file", () => {
  test("that its client gives up leaves no file open", async () => {
    const a = await bench.upstream({ name: "a" });
    a.files.leastSize = 40 * 2 ** 20;
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const record = await bench.result(await bench.prompt("me"));
    await nothingOutstanding();
    const open = async () => {
      const links = await Promise.all(
        (await readdir("/proc/self/fd")).map((name) => readlink(`/proc/self/fd/${name}`).catch(() => "")),
      );
      return links.filter((path) => path.startsWith(spool())).length;
    };
    const image = await bench.image(record);
    expect(await open()).toBe(1);
    await image.body?.cancel();
    await eventually("the file to be closed", async () => (await open()) === 0);
  });

  test("is sent to its end though the file is removed meanwhile", async () => {
    const a = await bench.upstream({ name: "a" });
    a.files.leastSize = 40 * 2 ** 20;
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me");
    const record = await bench.result(id);
    await nothingOutstanding();
    await bench.setTargets(null, []);
    await a.kill();
    const file = record.outputs["1"]?.images?.[0];
    const received = await new Promise<number>((resolve, reject) => {
      get(`${bench.url}/view?${new URLSearchParams(file)}`, (response) => {
        let bytes = 0;
        response.once("data", (chunk: Buffer) => {
          bytes += chunk.length;
          response.pause();
          void bench.post("/history", { delete: [id] }).then(async () => {
            expect(await readdir(spool("results"))).toEqual([]);
            response.on("data", (next: Buffer) => {
              bytes += next.length;
            });
            response.resume();
          }, reject);
        });
        response.on("end", () => resolve(bytes));
        response.on("error", reject);
      }).on("error", reject);
    });
    expect(received).toBe(40 * 2 ** 20);
    expect((await bench.get(`/view?${new URLSearchParams(file)}`)).status).not.toBe(200);
  });
});
