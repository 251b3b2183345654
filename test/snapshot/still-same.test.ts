import {
  chmodSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { partsOf } from "../../runtime/snapshot/parts";
import { isStillSame } from "../../runtime/snapshot/still-same";
import { ThreadPool } from "../../runtime/snapshot/threads/pool";
import { type Walked, walk } from "../../runtime/snapshot/walk";
import { makeEnvironment, temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let pool: ThreadPool | undefined;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(async () => {
  await pool?.close();
  pool = undefined;
  folder.remove();
});

const at = (...names: string[]) => join(folder.path, "env", ...names);
const packages = "venv/lib/python3.11/site-packages";

function threads() {
  pool ??= new ThreadPool({ size: 2 });
  return pool;
}

/** Tells of an environment as it is now whether it is still the same later. */
async function watched(more: Readonly<Record<string, string>> = {}) {
  const environment = makeEnvironment(at(), {
    "ComfyUI/a.py": "a = 1\n",
    "ComfyUI/nodes/b.py": "b = 1\n",
    "ComfyUI/run.log": "left out",
    "ComfyUI/.git/HEAD": "left out",
    ".cache/huggingface/model": "cached",
    ...more,
  });
  mkdirSync(at("ComfyUI/empty"), { recursive: true });
  symlinkSync("a.py", at("ComfyUI/link.py"));
  const request = {
    root: environment.root,
    parts: partsOf(environment.layout),
    models: "referenced" as const,
    threads,
  };
  const look = () => walk(request);
  const walked = await look();
  const still = (tree: Walked = walked) => isStillSame(environment.root, tree, request);
  return { walked, look, still };
}

function touchLater(path: string): void {
  const { mtimeMs } = statSync(path);
  utimesSync(path, new Date(), new Date(mtimeMs + 1_000));
}

const changes: Readonly<Record<string, () => void>> = {
  "a file is written to": () => writeFileSync(at("ComfyUI/a.py"), "a = 2222\n"),
  "a file is touched": () => touchLater(at("ComfyUI/a.py")),
  "a file is replaced by one with the same content": () => {
    writeFileSync(at("other"), "a = 1\n");
    renameSync(at("other"), at("ComfyUI/a.py"));
  },
  "a file's permissions change": () => chmodSync(at("ComfyUI/a.py"), 0o755),
  "a folder's permissions change": () => chmodSync(at("ComfyUI/nodes"), 0o700),
  "a file appears": () => writeFileSync(at("ComfyUI/nodes/new.py"), ""),
  "a folder appears": () => mkdirSync(at("ComfyUI/nodes/new")),
  "something appears in an empty folder": () => writeFileSync(at("ComfyUI/empty/new.py"), ""),
  "a file goes": () => rmSync(at("ComfyUI/nodes/b.py")),
  "a folder goes": () => rmSync(at("ComfyUI/nodes"), { recursive: true }),
  "a file gets another name": () => renameSync(at("ComfyUI/nodes/b.py"), at("ComfyUI/nodes/c.py")),
  "a file takes the place of what is left out": () => {
    rmSync(at("ComfyUI/run.log"));
    writeFileSync(at("ComfyUI/new.py"), "");
  },
  "a folder takes the place of a file that is left out": () => {
    rmSync(at("ComfyUI/run.log"));
    mkdirSync(at("ComfyUI/run.log"));
  },
  "a link leads elsewhere": () => {
    rmSync(at("ComfyUI/link.py"));
    symlinkSync("nodes/b.py", at("ComfyUI/link.py"));
  },
  "a file becomes a link to it": () => {
    renameSync(at("ComfyUI/a.py"), at("a.py"));
    symlinkSync("../a.py", at("ComfyUI/a.py"));
  },
  "a folder becomes a link to it": () => {
    renameSync(at("ComfyUI/nodes"), at("nodes"));
    symlinkSync("../nodes", at("ComfyUI/nodes"));
  },
  "rules of the environment's own appear": () => writeFileSync(at(".comfyuiignore"), "a.py\n"),
  "a part within another goes, and something else appears": () => {
    rmSync(at("ComfyUI/custom_nodes"), { recursive: true });
    mkdirSync(at("ComfyUI/other_nodes"));
  },
  "a part goes": () => rmSync(at(".cache"), { recursive: true }),
};

test.each(Object.entries(changes))("when %s, a tree is not the same any more", async (_, change) => {
  const { still } = await watched();
  expect(await still()).toBe(true);

  change();

  expect(await still()).toBe(false);
});

test("a part that appears, and rules that change without their stamp, are noticed", async () => {
  const { still, look } = await watched({ ".comfyuiignore": "*.aaa\n" });
  rmSync(at(".cache"), { recursive: true });
  const without = await look();
  expect(await still(without)).toBe(true);
  const ruled: Walked = { ...without, trace: { ...without.trace, ownRules: "*.bbb\n" } };
  expect(await still(ruled)).toBe(false);

  mkdirSync(at(".cache"));

  expect(await still(without)).toBe(false);
});

test("what comes and goes in what does not travel, and models, leave a tree the same", async () => {
  const { still } = await watched();

  writeFileSync(at("ComfyUI/run.log"), "longer than before");
  writeFileSync(at("ComfyUI/.git/new"), "");
  mkdirSync(at("ComfyUI/models/checkpoints"), { recursive: true });
  writeFileSync(at("ComfyUI/models/checkpoints/new.safetensors"), "");

  expect(await still()).toBe(true);
});

test("several threads look at a large tree, and each change in it is found", async () => {
  const many: Record<string, string> = {};
  for (let number = 0; number < 6_000; number++) many[`${packages}/p${number % 500}/f${number}.py`] = "";
  const { still, walked } = await watched(many);
  expect(walked.entries.length).toBeGreaterThan(6_000);
  expect(await still()).toBe(true);
  expect(pool).toBeDefined();

  writeFileSync(at(packages, "p499/f5999.py"), "new");
  expect(await still()).toBe(false);
});

test("when it is told to stop, it does", async () => {
  const environment = makeEnvironment(at());
  const request = {
    root: environment.root,
    parts: partsOf(environment.layout),
    models: "referenced" as const,
    threads,
  };
  const walked = await walk(request);

  const stopped = isStillSame(environment.root, walked, { ...request, signal: AbortSignal.abort(new Error("enough")) });

  await expect(stopped).rejects.toThrow("enough");
});

test("where it says that a tree is the same, another walk finds the same", async () => {
  const place = fc.constantFrom("a.py", "nodes", "nodes/b.py", "run.log", "x", "x/y.py", "custom_nodes/z", "link.py");
  const action = fc.record({ place, does: fc.constantFrom("write", "remove", "folder", "link", "executable") });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 4 }), async (actions) => {
      folder.remove();
      folder = temporaryFolder();
      const { still, look, walked } = await watched();
      for (const { place: name, does } of actions) {
        const path = at("ComfyUI", name);
        try {
          if (does === "write") writeFileSync(path, `${name} as it is written`);
          else if (does === "remove") rmSync(path, { recursive: true });
          else if (does === "folder") mkdirSync(path);
          else if (does === "link") symlinkSync("somewhere", path);
          else chmodSync(path, existsSync(path) && statSync(path).isFile() ? 0o755 : 0o750);
        } catch {
          // What cannot be done leaves things as they are.
        }
      }
      const said = await still();
      const same = (await look()).entries.equals(walked.entries);
      expect(said && !same).toBe(false);
    }),
    { numRuns: 60 },
  );
});
