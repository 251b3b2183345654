import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { defaultLayout } from "../../runtime/environment";
import { listSnapshots, type PackedSnapshot, pack, restore, scan } from "../../runtime/snapshot";
import { buildEngine, type EngineProcess, type Incident } from "../support/engine-process";
import { makeEnvironment, temporaryFolder } from "../support/trees";

let program: ReturnType<typeof temporaryFolder>;
let folder: ReturnType<typeof temporaryFolder>;
let engine: EngineProcess;
beforeAll(async () => {
  program = temporaryFolder();
  engine = await buildEngine(program.path);
});
afterAll(() => program.remove());
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const plugin = "ComfyUI/custom_nodes/good_plugin";

/** Packs, and lets something happen while ComfyUI's main.py is opened for reading: after the walk, amid the other files. */
function packWhile(action: Incident["action"]) {
  const environment = makeEnvironment(at("env"), {
    [`${plugin}/__pycache__/a.cpython-311.pyc`]: "byte code",
    "ComfyUI/zz_last.py": "last = 1\n",
  });
  const incident: Incident = {
    module: "node:fs",
    function: "openSync",
    path: "ComfyUI/main.py",
    call: 1,
    when: "after",
    action,
  };
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;
  return engine.pack(request, incident);
}

test.each([
  [
    "a file that was read already is written to",
    { write: `${plugin}/__init__.py`, content: "NODE_CLASS_MAPPINGS = {1}\n" },
  ],
  ["a file that was not read yet is written to", { write: "ComfyUI/zz_last.py", content: "last = 2\n" }],
  ["the file that is being read is written to", { write: "ComfyUI/main.py", content: "print('other')\n" }],
  ["a file appears", { write: `${plugin}/new.py`, content: "" }],
  ["a file goes", { remove: "ComfyUI/zz_last.py" }],
  ["a plugin goes", { remove: plugin }],
] as const)("when %s, the pack fails, names it, and leaves no snapshot", async (_, change) => {
  const path = "write" in change ? change.write : change.remove;
  const action = "write" in change ? { write: at("env", path), content: change.content } : { remove: at("env", path) };

  const { error } = await packWhile(action);

  expect(error?.name).toBe("ChangedWhilePackingError");
  expect(error?.paths?.some((named) => named === path || named.startsWith(`${path}/`))).toBe(true);
  expect(error?.message).toContain(path);
  expect(await listSnapshots(at("store"))).toEqual([]);
});

test("byte code that is written meanwhile is packed as it is at the end", async () => {
  const { error, result } = await packWhile({
    write: at("env", plugin, "__pycache__/a.cpython-311.pyc"),
    content: "newer byte code",
  });

  expect(error).toBeNull();
  await restore({ reference: (result as PackedSnapshot).reference, target: at("restored") });
  expect(readFileSync(at("restored", plugin, "__pycache__/a.cpython-311.pyc"), "utf8")).toBe("newer byte code");
});

test("byte code that is removed meanwhile is left out", async () => {
  const { error, result } = await packWhile({ remove: at("env", plugin, "__pycache__") });

  expect(error).toBeNull();
  await restore({ reference: (result as PackedSnapshot).reference, target: at("restored") });
  expect(existsSync(at("restored", plugin, "__pycache__"))).toBe(false);
});

test.each(["__pycache__/b.cpython-311.pyc", "run.log", "logs/run.log"])(
  "what does not count, as %s, may appear meanwhile",
  async (path) => {
    const { error } = await packWhile({ write: at("env", plugin, path), content: "new" });

    expect(error).toBeNull();
  },
);

test("a file that is written with the content that it had does not stop the pack", async () => {
  const { error } = await packWhile({ write: at("env", plugin, "__init__.py"), content: "NODE_CLASS_MAPPINGS = {}\n" });

  expect(error).toBeNull();
});

test("a pack that failed keeps what it has read for the next one", async () => {
  const { error } = await packWhile({ remove: at("env/ComfyUI/zz_last.py") });
  expect(error?.name).toBe("ChangedWhilePackingError");

  const environment = { root: at("env"), layout: defaultLayout };
  const { bytesRead } = await scan({ environment, models: "referenced", index: at("index") });

  expect(bytesRead).toBe(0);
});

test("an abort ends a pack with its reason", async () => {
  const stop = new AbortController();
  stop.abort(new Error("enough"));
  const environment = makeEnvironment(at("env"));
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;

  await expect(pack({ ...request, signal: stop.signal })).rejects.toThrow("enough");

  expect(await listSnapshots(at("store"))).toEqual([]);
});
