import { execFileSync } from "node:child_process";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { checkEnvironment, pack, restore, scan } from "../../runtime/snapshot";
import { makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

/* With a real Python and a real virtual environment. */

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
let packages: string;
const at = (...names: string[]) => join(folder.path, ...names);
const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: "utf8" }).trim();

beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"));
  rmSync(at("env/venv"), { recursive: true });
  run("python3", "-m", "venv", "--without-pip", at("env/venv"));
  packages = run(at("env/venv/bin/python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))");
  writeFiles(packages, {
    "tool/__init__.py": "import sys\ndef main():\n    print(sys.prefix)\n",
    "tool-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n",
    "mine.pth": `${at("env")}/ComfyUI/custom_nodes/good_plugin\n`,
    "__editable___mine_finder.py": `MAPPING = {'mine': '${at("env")}/ComfyUI/custom_nodes/good_plugin'}\n`,
  });
  // As pip writes console scripts.
  writeFileSync(at("env/venv/bin/tool"), `#!${at("env")}/venv/bin/python\nfrom tool import main\nmain()\n`, {
    mode: 0o755,
  });
});
afterEach(() => folder.remove());

const packIt = () => pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });

test("a real virtual environment is recognised: interpreter, version, ABI, distributions", async () => {
  expect(await checkEnvironment(environment)).toEqual([]);

  const { head } = await packIt();

  const facts =
    "import sys, sysconfig, platform; print(platform.python_version(), sysconfig.get_config_var('SOABI'), sys.base_prefix)";
  const [version, abi, base = ""] = run(at("env/venv/bin/python"), "-c", facts).split(" ");
  expect(head.summary.python).toBe(version);
  expect(head.platform).toMatchObject({ python: version, abi });
  expect(head.interpreter.startsWith(base)).toBe(true);
  expect(head.summary.distributions).toEqual({ tool: "1.0" });
});

test.each([
  ["another place", "restored/studio"],
  ["a place with a space in it", "with space/studio"],
  ["a place too long for a script's first line", `${"long/".repeat(30)}studio`],
])("in %s, its scripts, activation and path files work, while the original is gone", async (_, place) => {
  const { reference } = await packIt();
  renameSync(at("env"), at("gone"));

  const { python } = await restore({ reference, target: at(place), cache: at("cache") });

  const venv = at(place, "venv");
  expect(run(python, "-c", "import sys; print(sys.prefix)")).toBe(venv);
  expect(run(join(venv, "bin/tool"))).toBe(venv);
  expect(run("bash", "-c", 'source "$1/bin/activate"; echo "$VIRTUAL_ENV"; command -v python', "-", venv)).toBe(
    `${venv}\n${venv}/bin/python`,
  );
  const plugin = at(place, "ComfyUI/custom_nodes/good_plugin");
  expect(run(python, "-c", "import sys; print('\\n'.join(sys.path))").split("\n")).toContain(plugin);
  expect(run(python, "-c", "import __editable___mine_finder as f; print(f.MAPPING['mine'])")).toBe(plugin);
});

test("byte code is used as it was packed: Python compiles nothing again", async () => {
  run(at("env/venv/bin/python"), "-m", "compileall", "-q", join(packages, "tool"));
  const { reference } = await packIt();

  const { python } = await restore({ reference, target: at("restored") });

  const verbose = execFileSync("sh", ["-c", '"$1" -v -c "import tool" 2>&1', "-", python], { encoding: "utf8" });
  expect(verbose).toMatch(/tool\/__pycache__\/__init__\.[\w-]+\.pyc matches/);
});

test("byte code of a path file that was rewritten is not used, though its time and length are the same", async () => {
  const finder = join(packages, "__editable___mine_finder.py");
  run(at("env/venv/bin/python"), "-m", "compileall", "-q", finder);
  const { reference } = await packIt();

  // A place of the same length.
  const { python } = await restore({ reference, target: at("ENV") });

  expect(readFileSync(finder, "utf8").length).toBe(readFileSync(finder.replace(at("env"), at("ENV")), "utf8").length);
  expect(run(python, "-c", "import __editable___mine_finder as f; print(f.MAPPING['mine'])")).toContain(at("ENV"));
});

test("running it does not change its id, there or where it was restored", async () => {
  const { reference, head } = await packIt();
  await restore({ reference, target: at("restored") });
  for (const place of ["env", "restored"]) {
    run(at(place, "venv/bin/python"), "-c", "import tool, __editable___mine_finder");

    const { summary } = await scan({
      environment: { ...environment, root: at(place) },
      models: "referenced",
      index: at(`${place}-index`),
    });

    expect(summary.id).toBe(head.summary.id);
  }
});
