import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FolderTargetSource } from "../../runtime/gateway/target-source";
import type { GatewaySettings, Targets } from "../../runtime/gateway/targets";
import { eventually } from "../support/gateway-bench";

let folder: string;
let source: FolderTargetSource;
const settings: GatewaySettings[] = [];
const targets: Targets[] = [];
const problems: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "target-source-"));
  source = new FolderTargetSource(folder);
  for (const list of [settings, targets, problems]) list.length = 0;
});
afterEach(async () => {
  source.close();
  await rm(folder, { recursive: true, force: true });
});

const someSettings: GatewaySettings = {
  apiKeyHashes: [],
  deployerTokenHash: "0".repeat(64),
  maximumBodySize: 1,
  resultRetention: 0,
  maximumSpoolSize: 0,
};
const someTargets = (generation: number): Targets => ({ generation, serving: null, instances: [] });

async function replace(name: string, text: string): Promise<void> {
  await writeFile(join(folder, "new"), text);
  await rename(join(folder, "new"), join(folder, name));
}

function start(): Promise<void> {
  return source.start({
    settings: (value) => settings.push(value),
    targets: (value) => targets.push(value),
    problem: (text) => problems.push(text),
  });
}

test("hands over what is there at the start, and every replacement once", async () => {
  await replace("settings.json", JSON.stringify(someSettings));
  await replace("targets.json", JSON.stringify(someTargets(1)));
  await start();
  expect([settings, targets]).toEqual([[someSettings], [someTargets(1)]]);
  for (const generation of [2, 3]) {
    await replace("targets.json", JSON.stringify(someTargets(generation)));
    await eventually(`generation ${generation}`, () => targets.at(-1)?.generation === generation);
  }
  await replace("settings.json", JSON.stringify({ ...someSettings, maximumBodySize: 2 }));
  await eventually("the settings", () => settings.at(-1)?.maximumBodySize === 2);
  expect(targets.map(({ generation }) => generation)).toEqual([1, 2, 3]);
  expect(problems).toEqual([]);
});

test("waits for targets that are not there yet", async () => {
  await replace("settings.json", JSON.stringify(someSettings));
  await start();
  expect(targets).toEqual([]);
  await replace("targets.json", JSON.stringify(someTargets(1)));
  await eventually("the targets", () => targets.length === 1);
});

test("keeps what it had when a file is not usable, and says once what is wrong with it", async () => {
  await replace("settings.json", JSON.stringify(someSettings));
  await replace("targets.json", JSON.stringify(someTargets(1)));
  await start();
  await replace("targets.json", "{ not json");
  await eventually("the problem", () => problems.length === 1);
  const bad = { id: "a", release: "r", url: "ftp://x", state: "ready", epoch: 1 };
  await replace("targets.json", JSON.stringify({ ...someTargets(2), instances: [bad] }));
  await eventually("the problem", () => problems.length === 2);
  expect(problems[1]).toMatch(/targets\.json is ignored.*instances\[0\]\.url/s);
  await rm(join(folder, "targets.json"));
  await eventually("the problem", () => problems.length === 3);
  expect(targets).toHaveLength(1);
  await replace("targets.json", JSON.stringify(someTargets(4)));
  await eventually("the targets", () => targets.at(-1)?.generation === 4);
});

test("does not start without settings", async () => {
  await expect(start()).rejects.toThrow(/needs its settings in .*settings\.json/);
});
