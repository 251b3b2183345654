import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { readHead } from "../../runtime/snapshot";
import { recordWorkstation } from "../support/cli-platform";
import { runCli } from "../support/cli-run";
import { temporaryFolder } from "../support/cli-surroundings";
import { makeEnvironment, setPlugin } from "../support/supervisor-environment";

const plugin = "NODE_CLASS_MAPPINGS = {}\n";

/** A folder with an environment `studio` in it; the command runs there. */
function makeStudio() {
  const cwd = temporaryFolder();
  vi.stubEnv("XDG_CACHE_HOME", join(cwd, "cache"));
  const environment = makeEnvironment(join(cwd, "studio"), { "my-plugin": plugin });
  return { cwd, environment };
}

async function packed(cwd: string): Promise<string> {
  const { code, stdout, stderr } = await runCli(["pack", "studio", "--store", "store"], { cwd });
  expect(code, stderr).toBe(0);
  return stdout.trim();
}

beforeEach(() => () => vi.unstubAllEnvs());

describe("scan", () => {
  it("shows the id and what the environment is made of", async () => {
    const { cwd } = makeStudio();

    const text = await runCli(["scan", "studio"], { cwd });
    const document = await runCli(["scan", "studio", "--json"], { cwd });

    const { id, plugins } = document.json as { id: string; plugins: Record<string, string> };
    expect([text.code, document.code]).toEqual([0, 0]);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(Object.keys(plugins)).toContain("my-plugin");
    expect(text.stdout).toContain(id);
    expect(text.stdout).toMatch(/^my-plugin +\S+$/m);
  });

  it("takes the current folder, and a layout", async () => {
    const { cwd } = makeStudio();
    const usual = await runCli(["scan", "--json"], { cwd: join(cwd, "studio") });
    const other = await runCli(["scan", "studio", "--layout-cache", "other-cache", "--json"], { cwd });

    expect([usual.code, other.code]).toEqual([0, 0]);
    expect((other.json as { id: string }).id).toBe((usual.json as { id: string }).id);
  });

  it("explains why an id changed, compared with the newest snapshot of a store or with a reference", async () => {
    const { cwd, environment } = makeStudio();
    const reference = await packed(cwd);

    const unchanged = await runCli(["scan", "studio", "--explain", "--store", "store"], { cwd });
    setPlugin(environment, "my-plugin", "NODE_CLASS_MAPPINGS = {'A': object}\n");
    setPlugin(environment, "another", plugin);
    const changed = await runCli(["scan", "studio", "--explain", "--store", "store"], { cwd });
    const document = await runCli(["scan", "studio", "--json", "--explain", reference], { cwd });

    expect([unchanged.code, changed.code, document.code]).toEqual([0, 3, 3]);
    expect(unchanged.stdout).toContain(`is unchanged since ${reference}`);
    expect(changed.stdout).toMatch(/changed +content +ComfyUI\/custom_nodes\/my-plugin\/__init__\.py/);
    expect(changed.stdout).toMatch(/added +file +ComfyUI\/custom_nodes\/another\/__init__\.py/);
    expect(changed.stdout).toMatch(/plugin +another +- +\S+/);
    expect(document.json).toMatchObject({
      changed: true,
      comparedWith: reference,
      versions: [
        { kind: "plugin", name: "another", from: null },
        { kind: "plugin", name: "my-plugin" },
      ],
    });
  });

  it("lists all of many differences only where a script reads them", async () => {
    const { cwd, environment } = makeStudio();
    await packed(cwd);
    const files = Object.fromEntries(Array.from({ length: 60 }, (_, at) => [`file-${at}.py`, `${at}`]));
    setPlugin(environment, "my-plugin", { "__init__.py": plugin, ...files });

    const text = await runCli(["scan", "studio", "--explain", "--store", "store"], { cwd });
    const document = await runCli(["scan", "studio", "--json", "--explain", "--store", "store"], { cwd });

    expect(text.stdout).toContain("and 10 more, which --json lists");
    expect((document.json as { differences: unknown[] }).differences).toHaveLength(60);
  });

  it("compares as the snapshot was made, unless told otherwise", async () => {
    const { cwd } = makeStudio();
    writeFileSync(join(cwd, "studio/ComfyUI/models/checkpoints/small.safetensors"), "weights");
    await runCli(["pack", "studio", "--store", "store", "--models", "locked"], { cwd });

    const same = await runCli(["scan", "studio", "--explain", "--store", "store"], { cwd });
    const other = await runCli(["scan", "studio", "--explain", "--store", "store", "--models", "referenced"], { cwd });

    expect([same.code, other.code]).toEqual([0, 3]);
    expect(other.stderr).toContain("models are referenced here and locked in the snapshot");
  });

  it.each([
    [["scan", "nowhere"], "is not a folder"],
    [["scan", "--explain"], "needs a reference, or --store"],
    [["scan", "--explain", "studio"], "the folder goes before --explain"],
    [["scan", "--store", "."], "goes with --explain"],
    [["scan", "--explain", "--store", "."], "has no snapshot to compare with"],
    [["scan", "--explain", "store#sha256:12"], "is not a snapshot reference"],
  ])("takes %j as bad input", async (args, message) => {
    const { code, stderr } = await runCli(args, { cwd: temporaryFolder() });

    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});

describe("pack, list, verify and restore", () => {
  it("carry an environment over", async () => {
    const { cwd } = makeStudio();
    const reference = await packed(cwd);

    const list = await runCli(["list", "store", "--json"], { cwd });
    const table = await runCli(["list", "store"], { cwd });
    const verified = await runCli(["verify", reference, "--deep", "--json"], { cwd });
    const restored = await runCli(["restore", reference.replace(`${cwd}/`, "./"), "copy", "--json"], { cwd });
    const scanned = await runCli(["scan", "copy", "--explain", reference], { cwd });

    expect([list.code, table.code, verified.code, restored.code, scanned.code]).toEqual([0, 0, 0, 0, 0]);
    expect(list.json).toMatchObject({ store: `${cwd}/store`, snapshots: [{ reference }] });
    expect(table.stdout).toContain(reference);
    expect(verified.json).toMatchObject({ healthy: true, deep: true, problems: [] });
    expect(restored.json).toMatchObject({ root: `${cwd}/copy`, python: `${cwd}/copy/venv/bin/python` });
    expect(existsSync(join(cwd, "copy/ComfyUI/custom_nodes/my-plugin/__init__.py"))).toBe(true);
  });

  it("finds the same environment again without storing it twice", async () => {
    const { cwd } = makeStudio();

    const first = await runCli(["pack", "studio", "--store", "store", "--json"], { cwd });
    const second = await runCli(["pack", "studio", "--store", "store", "--json"], { cwd });

    const { reference, bytesAdded } = first.json as { reference: string; bytesAdded: number };
    expect(bytesAdded).toBeGreaterThan(0);
    expect(second.json).toMatchObject({ reference, bytesAdded: 0 });
  });

  it("take along how plugins behaved at the workstation's last start", async () => {
    const { cwd } = makeStudio();
    const { json } = await runCli(["scan", "studio", "--json"], { cwd });
    const { pluginHashes } = json as { pluginHashes: Record<string, string> };
    const record = {
      name: "my-plugin",
      contentHash: pluginHashes["my-plugin"],
      state: "failed",
      classes: [],
    };
    recordWorkstation(join(cwd, ".comfyui"), { name: "station", root: join(cwd, "studio"), plugins: [record] });

    const by = ["pack", "studio", "--store", "store", "--platform", ".comfyui"];
    const found = await runCli(by, { cwd });
    const named = await runCli([...by, "--workstation", "station"], { cwd });
    const unknown = await runCli([...by, "--workstation", "other"], { cwd });
    const lonely = await runCli(["pack", "studio", "--store", "store", "--workstation", "station"], { cwd });

    expect([found.code, named.code, unknown.code, lonely.code]).toEqual([0, 0, 2, 2]);
    expect(named.stdout).toBe(found.stdout);
    expect((await readHead(found.stdout.trim())).plugins).toMatchObject([
      { name: "my-plugin", baseline: { state: "failed" } },
    ]);
    expect(unknown.stderr).toContain(`it has: station (${cwd}/studio)`);
    expect(lonely.stderr).toContain("needs --platform");
  });

  it("say no to a snapshot that is missing or lost a part, and fail to restore it", async () => {
    const { cwd } = makeStudio();
    const reference = await packed(cwd);
    const missing = await runCli(["verify", `store#sha256:${"0".repeat(64)}`], { cwd });
    const [first] = readdirSync(join(cwd, "store/packs"));
    rmSync(join(cwd, "store/packs", String(first)), { recursive: true });

    const verified = await runCli(["verify", reference], { cwd });
    const restored = await runCli(["restore", reference, "copy"], { cwd });

    expect([missing.code, verified.code, restored.code]).toEqual([3, 3, 1]);
    expect(verified.stdout).toContain("cannot be restored");
    expect(existsSync(join(cwd, "copy"))).toBe(false);
  });

  it("take a snapshot that is not there, and a target in use, as bad input", async () => {
    const { cwd } = makeStudio();
    const reference = await packed(cwd);
    const missing = `store#sha256:${"0".repeat(64)}`;

    const results = await Promise.all([
      runCli(["restore", missing, "copy"], { cwd }),
      runCli(["restore", reference, "studio"], { cwd }),
      runCli(["restore", "studio", "copy"], { cwd }),
    ]);

    expect(results.map(({ code }) => code)).toEqual([2, 2, 2]);
    expect(results[1]?.stderr).toContain("is in use");
  });

  it("list nothing of an empty store, and that is no failure", async () => {
    const cwd = temporaryFolder();

    const { code, stdout, stderr } = await runCli(["list", "."], { cwd });

    expect([code, stdout, stderr]).toEqual([0, "", `no snapshot in ${cwd}\n`]);
  });
});
