import { stat } from "node:fs/promises";
import { createServer } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { GatewayStatus } from "../../runtime/gateway/targets";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";
import { bundleGateway, GatewayProgram } from "../support/gateway-program";

let bench: GatewayBench;
const programs: GatewayProgram[] = [];

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(async () => {
  await Promise.all(programs.splice(0).map((program) => program.kill()));
  await bench.remove();
});

function start(file: string, parameters: readonly string[]): GatewayProgram {
  const program = new GatewayProgram(file, parameters);
  programs.push(program);
  return program;
}

test("the bundled program is one small file that serves, follows its files, and ends with 0 on SIGTERM", async () => {
  const file = await bundleGateway(bench.folder);
  expect((await stat(file)).size).toBeLessThan(2 * 2 ** 20);
  const a = await bench.upstream({ name: "a" });
  const program = start(file, ["--folder", bench.folder, "--port", "0"]);
  const url = await program.listening();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const status = async () =>
    (await (await fetch(`${url}/_gateway/status`, { headers: deployer })).json()) as GatewayStatus;
  await eventually("the targets to be applied", async () => (await status()).generation === 1);
  expect(await status()).toMatchObject({ pid: program.child.pid, serving: "r1", openSockets: 0 });
  const body = JSON.stringify({ prompt: { "1": { class_type: "SaveImage", inputs: {} } }, prompt_id: "p" });
  expect((await fetch(`${url}/prompt`, { method: "POST", body })).status).toBe(200);
  await eventually("the result", async () => (await (await fetch(`${url}/history/p`)).text()).includes("success"));
  program.child.kill("SIGTERM");
  expect(await program.exit).toBe(0);
  expect(program.output).toMatch(/stopping\n.*stopped\n$/);
  expect(program.output).toMatch(/generation 1: serving r1, 1 ready and 0 draining instances/);
});

test("the program says what is wrong when it cannot start", async () => {
  const file = await bundleGateway(bench.folder);
  const wrongUse = start(file, ["--port", "x"]);
  expect(await wrongUse.exit).toBe(1);
  expect(wrongUse.output).toContain("usage: ");

  const taken = createServer();
  const port = await new Promise<number>((resolve) =>
    taken.listen(0, "127.0.0.1", () => resolve((taken.address() as { port: number }).port)),
  );
  const second = start(file, ["--folder", bench.folder, "--port", String(port)]);
  expect(await second.exit).toBe(1);
  expect(second.output).toContain("EADDRINUSE");
  await new Promise((resolve) => taken.close(resolve));

  await bench.replace("settings.json", { apiKeyHashes: ["short"] });
  const badSettings = start(file, ["--folder", bench.folder, "--port", "0"]);
  expect(await badSettings.exit).toBe(1);
  expect(badSettings.output).toMatch(/settings\.json.*(apiKeyHashes|64)/s);
});

test("a killed program leaves a spool that the next one goes on with", async () => {
  const file = await bundleGateway(bench.folder);
  const a = await bench.upstream({ name: "a", duration: null });
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const first = start(file, ["--folder", bench.folder, "--port", "0"]);
  const url = await first.listening();
  const body = JSON.stringify({ prompt: { "1": { class_type: "SaveImage", inputs: {} } }, prompt_id: "p" });
  expect((await fetch(`${url}/prompt`, { method: "POST", body })).status).toBe(200);
  await first.kill();
  a.finishOne();
  await bench.start();
  await bench.setTargets(null, [target(a, "r1/0", { state: "draining" })]);
  await bench.drained("r1/0");
  await bench.setTargets(null, []);
  await a.kill();
  expect(await (await bench.image(await bench.result("p"))).text()).toBe("a drew ComfyUI_00001_.png for p");
});
