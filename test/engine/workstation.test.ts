import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { defaultLayout } from "../../runtime/environment";
import { pack, readHead } from "../../runtime/snapshot";
import { findSupervisor } from "../../runtime/supervisor";
import { waitFor } from "../../runtime/waiting";
import { openSocket, running, submit } from "../support/comfyui-client";
import { paint, painter } from "../support/engine-plugins";
import { freePort } from "../support/free-port";
import { PulumiProject, stepsOf } from "../support/pulumi-project";

const program = `
const { readFileSync } = require("node:fs");
const { DevWorkstation, local } = require("pulumi-comfyui");
const { directory, ...args } = JSON.parse(readFileSync("declaration.json", "utf8"));
module.exports = { url: new DevWorkstation("desk", { platform: local({ directory }), environment: "studio", ...args }).url };
`;

test("a workstation stops after its prompt, starts again at its address, and moves to another port and platform", async () => {
  await using project = PulumiProject.create({ program });
  project.makeEnvironment({ painter: painter("1") });
  const declare = (more: object) =>
    writeFileSync(join(project.folder, "declaration.json"), JSON.stringify({ directory: "platform", ...more }));
  const answers = async () => (await fetch(`${(await project.outputs()).url}/system_stats`)).status;
  const desk = async (directory = "platform") => {
    const supervisor = await findSupervisor(join(project.folder, directory));
    return (await supervisor?.workstation("desk")) ?? null;
  };

  declare({});
  await project.mustUp();
  const { url = "" } = await project.outputs();
  expect(await answers()).toBe(200);

  const socket = await openSocket(url, "person");
  const id = await submit(url, paint(5, "last"), { client_id: "person" });
  await running(url, id);
  declare({ state: "stopped" });
  await project.mustUp();
  await socket.until(
    "the end of the prompt",
    ({ type, data }) => type === "execution_success" && data.prompt_id === id,
  );
  expect(await desk()).toMatchObject({ phase: "stopped", pid: null });
  expect((await project.outputs()).url).toBe(url);
  expect(stepsOf(await project.mustUp())).toEqual({ same: expect.any(Number) });

  declare({});
  await project.mustUp();
  expect((await project.outputs()).url).toBe(url);
  expect(await answers()).toBe(200);

  // Right after the update, the new address answers, and nothing listens at the old one.
  const port = await freePort();
  declare({ port });
  await project.mustUp();
  expect((await project.outputs()).url).toBe(`http://127.0.0.1:${port}`);
  expect(await answers()).toBe(200);
  await expect(fetch(url)).rejects.toThrow();

  declare({ directory: "elsewhere" });
  await project.mustUp();
  expect(await answers()).toBe(200);
  expect(await desk()).toBeNull();
  expect((await project.destroy()).code).toBe(0);
  await waitFor({
    what: "the last process to end",
    deadline: 30_000,
    look: () => project.processes().length === 0 || undefined,
    seen: () => project.processes().join("; "),
  });
  expect(existsSync(join(project.folder, "elsewhere"))).toBe(false);
}, 180_000);

const filledProgram = `
const { DevWorkstation, local, Snapshot } = require("pulumi-comfyui");
const { readFileSync } = require("node:fs");
const from = readFileSync("from", "utf8");
const workstation = new DevWorkstation("desk", { platform: local({ directory: "platform" }), environment: "studio", from });
module.exports = { reference: new Snapshot("desk", { environment: workstation.environment, store: "store" }).reference };
`;

test("a workstation begins with a snapshot in a folder that is not there yet, and keeps what its person makes of it", async () => {
  await using project = PulumiProject.create({ program: filledProgram });
  const origin = join(project.folder, "origin");
  project.makeEnvironment({ painter: painter("1") }, origin);
  const location = { root: origin, layout: defaultLayout };
  const { reference } = await pack({ environment: location, store: project.store, models: "referenced", plugins: [] });
  writeFileSync(join(project.folder, "from"), reference);

  const preview = await project.preview();
  expect(preview.code, preview.output).toBe(0);
  expect(existsSync(project.environment)).toBe(false);
  await project.mustUp();
  expect((await readHead((await project.outputs()).reference ?? "")).summary.id).toBe(
    (await readHead(reference)).summary.id,
  );

  project.writePlugins({ painter: painter("2") });
  await project.mustUp();
  expect((await readHead((await project.outputs()).reference ?? "")).summary.plugins.painter).not.toBe(
    (await readHead(reference)).summary.plugins.painter,
  );
  await project.destroy();
});
