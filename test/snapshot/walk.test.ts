import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EntryTable } from "../../runtime/snapshot/entry-table";
import { partsOf } from "../../runtime/snapshot/parts";
import { compareBytes } from "../../runtime/snapshot/paths";
import { ThreadPool } from "../../runtime/snapshot/threads/pool";
import { walk } from "../../runtime/snapshot/walk";
import { makeEnvironment, temporaryFolder, writeFiles } from "../support/trees";

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

/** An environment of so many files that threads share the walk, with names that sort before, between and after what is in a folder. */
function makeLargeEnvironment() {
  const environment = makeEnvironment(at());
  for (let number = 0; number < 60; number++) {
    for (const name of [
      `p${number}`,
      `p${number}-more`,
      `p${number}.dist-info`,
      `p${number}/inner`,
      `p${number}/inner-`,
    ]) {
      const path = at(packages, name);
      mkdirSync(path, { recursive: true });
      for (let file = 0; file < 20; file++) writeFileSync(join(path, `f${file}.py`), name);
      mkdirSync(join(path, "empty"));
    }
    symlinkSync(`p${number}`, at(packages, `link${number}`));
  }
  return environment;
}

const request = (environment: ReturnType<typeof makeEnvironment>) => ({
  root: environment.root,
  parts: partsOf(environment.layout),
  models: "referenced" as const,
});

/** The pool that a walk asked for, with this many threads. */
function threads(size: number, program?: string) {
  return () => {
    pool ??= new ThreadPool({ size, ...(program === undefined ? {} : { program }) });
    return pool;
  };
}

test.each([1, 3])("what %d threads find together is all that is there, in the order of its paths", async (size) => {
  const environment = makeLargeEnvironment();

  const { entries, remarks } = await walk({ ...request(environment), threads: threads(size) });

  expect(pool).toBeDefined();
  const there = readdirSync(at("venv"), { recursive: true, encoding: "utf8" })
    .map((path) => `venv/${path}`)
    // Node.js goes through links to folders as well.
    .filter((path) => !/link\d+\//.test(path))
    .sort(compareBytes);
  expect(there.length).toBeGreaterThan(6_000);
  expect(entries.paths.filter((path) => path.startsWith("venv/"))).toEqual(there);
  expect([...entries.paths].sort(compareBytes)).toEqual(entries.paths);
  expect(entries.entry(entries.rowOf(`${packages}/link7`))).toMatchObject({ type: "link", target: "p7" });
  expect(entries.entry(entries.rowOf(`${packages}/p7/empty`))).toMatchObject({ type: "directory", empty: true });
  expect(entries.entry(entries.rowOf(`${packages}/p7`))).toMatchObject({ type: "directory", empty: false });
  expect(remarks).toEqual([]);
});

test("a walk that finds what another found gives that one's table, and only then", async () => {
  const environment = makeLargeEnvironment();
  const look = (before?: EntryTable) =>
    walk({ ...request(environment), threads: threads(2), ...(before && { before }) });
  const found = await look();

  expect((await look(found.entries)).entries).toBe(found.entries);

  for (const change of [
    () => writeFileSync(at(packages, "p7/f7.py"), "changed"),
    () => writeFileSync(at(packages, "p7/g.py"), ""),
    () => rmSync(at(packages, "p59/inner-/f19.py")),
    () => {
      rmSync(at(packages, "link59"));
      symlinkSync("p58", at(packages, "link59"));
    },
  ]) {
    const { entries: before } = await look();
    change();
    const { entries: after } = await look(before);
    expect(after.equals(before)).toBe(false);
    expect(after.equals((await look()).entries)).toBe(true);
  }
});

test("a person's own rules, credentials and special files are dealt with in threads as well", async () => {
  const environment = makeLargeEnvironment();
  writeFiles(at(), {
    ".comfyuiignore": "**/p59/inner/f1.py\n",
    [`${packages}/p58/inner/.netrc`]: "secret",
    [`${packages}/p57/inner/__pycache__/a.pyc`]: "byte code",
  });

  const { entries, remarks } = await walk({ ...request(environment), threads: threads(2) });

  expect(entries.rowOf(`${packages}/p59/inner/f1.py`)).toBe(-1);
  expect(entries.rowOf(`${packages}/p58/inner/.netrc`)).toBe(-1);
  expect(remarks).toEqual([`left out because they hold credentials: ${packages}/p58/inner/.netrc`]);
  expect(entries.entry(entries.rowOf(`${packages}/p57/inner/__pycache__/a.pyc`))).toMatchObject({ counts: false });
});

test("a name in a thread's folder that is no UTF-8 is an error that names it", async () => {
  const environment = makeLargeEnvironment();
  writeFileSync(Buffer.concat([Buffer.from(at(packages, "p59/inner/")), Buffer.from([0xff])]), "");

  await expect(walk({ ...request(environment), threads: threads(2) })).rejects.toThrow(
    /p59\/inner\/.*its name is not valid UTF-8/,
  );
});

test("a thread that dies is an error of the walk", async () => {
  const environment = makeLargeEnvironment();
  const program = join(folder.path, "dies.js");
  writeFileSync(program, 'require("node:worker_threads").parentPort.on("message", () => process.exit(3));');

  await expect(walk({ ...request(environment), threads: threads(2, program) })).rejects.toThrow("ended with code 3");
});

test("a walk that is told to stop does so while threads work", async () => {
  const environment = makeLargeEnvironment();
  const stop = new AbortController();
  const stopping = () => {
    stop.abort(new Error("told to stop"));
    return threads(2)();
  };

  await expect(walk({ ...request(environment), threads: stopping, signal: stop.signal })).rejects.toThrow(
    "told to stop",
  );
});
