import { type ChildProcess, spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { build } from "esbuild";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { GatewayStatus } from "../../runtime/gateway/targets";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;
let program: ChildProcess | null = null;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(async () => {
  program?.kill("SIGKILL");
  program = null;
  await bench.remove();
});

async function bundle(): Promise<string> {
  const outfile = join(bench.folder, "gateway.js");
  await build({
    entryPoints: [join(__dirname, "../../runtime/gateway/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22",
    minify: true,
    logLevel: "silent",
  });
  return outfile;
}

function start(file: string, parameters: readonly string[]) {
  const child = spawn(process.execPath, [file, ...parameters], { stdio: ["ignore", "pipe", "pipe"] });
  program = child;
  const output = { text: "" };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk) => {
      output.text += chunk;
    });
  }
  const exit = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  return { child, output, exit };
}

test("the bundled program is one small file that serves, follows its files, and ends with 0 on SIGTERM", async () => {
  const file = await bundle();
  expect((await stat(file)).size).toBeLessThan(2 * 2 ** 20);
  const a = await bench.upstream({ name: "a" });
  const { child, output, exit } = start(file, ["--folder", bench.folder, "--port", "0"]);
  await eventually("it to listen", () => output.text.includes("listening on "));
  const url = /listening on (\S+)/.exec(output.text)?.[1] ?? "";
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const status = async () =>
    (await (await fetch(`${url}/_gateway/status`, { headers: deployer })).json()) as GatewayStatus;
  await eventually("the targets to be applied", async () => (await status()).generation === 1);
  expect(await status()).toMatchObject({ pid: child.pid, serving: "r1", openSockets: 0 });
  const body = JSON.stringify({ prompt: { "1": { class_type: "SaveImage", inputs: {} } }, prompt_id: "p" });
  expect((await fetch(`${url}/prompt`, { method: "POST", body })).status).toBe(200);
  await eventually("the result", async () => (await (await fetch(`${url}/history/p`)).text()).includes("success"));
  child.kill("SIGTERM");
  expect(await exit).toBe(0);
  expect(output.text).toMatch(/stopping\n.*stopped\n$/);
  expect(output.text).toMatch(/generation 1: serving r1, 1 ready and 0 draining instances/);
});

test("the program says what is wrong when it cannot start", async () => {
  const file = await bundle();
  const wrongUse = start(file, ["--port", "x"]);
  expect(await wrongUse.exit).toBe(1);
  expect(wrongUse.output.text).toContain("usage: ");

  const taken = createServer();
  const port = await new Promise<number>((resolve) =>
    taken.listen(0, "127.0.0.1", () => resolve((taken.address() as { port: number }).port)),
  );
  const second = start(file, ["--folder", bench.folder, "--port", String(port)]);
  expect(await second.exit).toBe(1);
  expect(second.output.text).toContain("EADDRINUSE");
  await new Promise((resolve) => taken.close(resolve));

  await bench.replace("settings.json", { apiKeyHashes: ["short"] });
  const badSettings = start(file, ["--folder", bench.folder, "--port", "0"]);
  expect(await badSettings.exit).toBe(1);
  expect(badSettings.output.text).toMatch(/settings\.json.*(apiKeyHashes|64)/s);
});

test("a killed program leaves a spool that the next one goes on with", async () => {
  const file = await bundle();
  const a = await bench.upstream({ name: "a", duration: null });
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const first = start(file, ["--folder", bench.folder, "--port", "0"]);
  await eventually("it to listen", () => first.output.text.includes("listening on "));
  const url = /listening on (\S+)/.exec(first.output.text)?.[1] ?? "";
  const body = JSON.stringify({ prompt: { "1": { class_type: "SaveImage", inputs: {} } }, prompt_id: "p" });
  expect((await fetch(`${url}/prompt`, { method: "POST", body })).status).toBe(200);
  first.child.kill("SIGKILL");
  await first.exit;
  a.finishOne();
  await bench.start();
  await bench.setTargets(null, [target(a, "r1/0", { state: "draining" })]);
  await bench.drained("r1/0");
  await bench.setTargets(null, []);
  await a.kill();
  expect(await (await bench.image(await bench.result("p"))).text()).toBe("a drew ComfyUI_00001_.png for p");
});
