import { existsSync, readdirSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, it, vi } from "vitest";
import type { Pruning } from "../../runtime/snapshot";
import { recordService, releaseOf, specOf } from "../support/cli-platform";
import { runCli } from "../support/cli-run";
import { temporaryFolder } from "../support/cli-surroundings";
import { makeEnvironment, setPlugin } from "../support/supervisor-environment";

beforeEach(() => () => vi.unstubAllEnvs());

/** A store with so many snapshots, the oldest first, each a day older than the next; the command runs beside it. */
async function makeStore(snapshots: number, store = "store") {
  const cwd = temporaryFolder();
  vi.stubEnv("XDG_CACHE_HOME", join(cwd, "cache"));
  const environment = makeEnvironment(join(cwd, "studio"), { "my-plugin": "NODE_CLASS_MAPPINGS = {}\n" });
  const references: string[] = [];
  for (let number = 0; number < snapshots; number++) {
    setPlugin(environment, "my-plugin", `NODE_CLASS_MAPPINGS = {}  # ${number}\n`);
    const { stdout, code, stderr } = await runCli(["pack", "studio", "--store", store], { cwd });
    expect(code, stderr).toBe(0);
    references.push(stdout.trim());
    const time = Date.now() / 1000 - (snapshots - number) * 24 * 3600;
    utimesSync(join(cwd, store, "snapshots", references[number]?.slice(-64) ?? ""), time, time);
  }
  return { cwd, references };
}

it("keeps what the rules say, and says why", async () => {
  const { cwd, references } = await makeStore(4);

  const { code, json } = await runCli(
    ["prune", "store", "--keep-newest", "1", "--keep-younger-than", "60h", "--protect", references[0] ?? "", "--json"],
    { cwd },
  );

  expect(code).toBe(0);
  const { kept, removed } = json as Pruning;
  expect(kept.map(({ reference, reasons }) => [reference, reasons])).toEqual([
    [references[3], ["one of the newest 1", "younger than 60h"]],
    [references[2], ["younger than 60h"]],
    [references[0], ["--protect"]],
  ]);
  expect(removed.map(({ reference }) => reference)).toEqual([references[1]]);
  expect(readdirSync(join(cwd, "store/snapshots"))).toHaveLength(3);
});

it("keeps what releases of the named and the nearest platforms use, and what a service would be rolled back to", async () => {
  const { cwd, references } = await makeStore(6, ".comfyui/store");
  const served = ["created", "started", "proven", "serving"] as const;
  recordService(join(cwd, ".comfyui"), {
    serving: "r3-abcde",
    releases: [
      releaseOf(1, [...served, "drained", "removed"], { spec: specOf(references[0] ?? ""), count: 0 }),
      releaseOf(2, [...served, "drained", "removed"], { spec: specOf(references[1] ?? ""), count: 0 }),
      releaseOf(3, served, { spec: specOf(references[2] ?? "") }),
    ],
  });
  recordService(join(cwd, "elsewhere"), {
    name: "other",
    releases: [releaseOf(1, ["created"], { spec: specOf(`/mnt/store#sha256:${references[3]?.slice(-64)}`) })],
  });

  const args = ["prune", ".comfyui/store", "--keep-newest", "1", "--platform", "elsewhere"];
  const { code, json } = await runCli([...args, "--json"], { cwd });

  expect(code).toBe(0);
  const { kept, platforms } = json as Pruning & { platforms: readonly string[] };
  expect(platforms).toEqual([join(cwd, "elsewhere"), join(cwd, ".comfyui")]);
  expect(kept.map(({ reference, reasons }) => [reference, reasons])).toEqual([
    [references[5], ["one of the newest 1"]],
    [references[3], ["release r1-abcde of the service other"]],
    [references[2], ["release r3-abcde of the service studio"]],
    [references[1], ["to roll the service studio back to r2-abcde"]],
  ]);
});

it("finds the platform that a store lies in from anywhere", async () => {
  const { cwd, references } = await makeStore(2, ".comfyui/store");
  recordService(join(cwd, ".comfyui"), {
    serving: "r1-abcde",
    releases: [releaseOf(1, ["created"], { spec: specOf(references[0] ?? "") })],
  });

  const { stdout } = await runCli(["prune", join(cwd, ".comfyui/store"), "--keep-newest", "1"], { cwd: "/" });

  expect(stdout).toContain("release r1-abcde of the service studio");
  expect(stdout).toContain(`Looked at what releases use on ${cwd}/.comfyui`);
});

it("changes nothing in a dry run, and exits with 3 when there is something to do", async () => {
  const { cwd, references } = await makeStore(2);

  const something = await runCli(["prune", "store", "--keep-newest", "1", "--dry-run"], { cwd });
  const nothing = await runCli(["prune", "store", "--keep-newest", "2", "--dry-run"], { cwd });

  expect([something.code, nothing.code]).toEqual([3, 0]);
  expect(something.stdout).toContain("Would remove 1 snapshot\n");
  expect(something.stdout).toContain(references[0]);
  expect(something.stdout).toMatch(/^Would free \d/m);
  expect(something.stdout).toContain("No platform was looked at");
  expect(readdirSync(join(cwd, "store/snapshots"))).toHaveLength(2);
  expect(existsSync(join(cwd, "store/marks"))).toBe(false);
});

it("says what was freed, and warns of a shorter wait", async () => {
  const { cwd } = await makeStore(2);

  const { code, stdout, stderr } = await runCli(["prune", "store", "--keep-newest", "1", "--wait", "0s"], { cwd });

  expect(code).toBe(0);
  expect(stderr).toContain("nothing may pack to");
  expect(stdout).toMatch(/^Freed [\d.]+ KiB: 0 packs, 0 B; 1 manifest; 0 left-overs of killed packers$/m);
});

it.each([
  [["prune", "store"], "--keep-newest: give it, or --keep-younger-than"],
  [["prune", "store", "--keep-newest", "0"], '"0" is not a number of 1 or more'],
  [["prune", "store", "--keep-younger-than", "soon"], '"soon" is not a time'],
  [["prune", "store", "--keep-newest", "1", "--protect", "studio"], "--protect: "],
  [["prune", "store", "--keep-newest", "1", "--platform", "nowhere"], "is not a folder"],
  [["prune", "nowhere", "--keep-newest", "1"], "is not a folder"],
])("takes %j as bad input, and removes nothing", async (args, message) => {
  const { cwd } = await makeStore(1);

  const { code, stderr } = await runCli(args, { cwd });

  expect(code).toBe(2);
  expect(stderr).toContain(message);
  expect(readdirSync(join(cwd, "store/snapshots"))).toHaveLength(1);
});
