import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import {
  DamagedSnapshotError,
  exportSnapshot,
  exportToFile,
  pack,
  restore,
  SnapshotNotFoundError,
} from "../../runtime/snapshot";
import { tarEnd, tarHeader, tarPadding } from "../../runtime/snapshot/tar";
import { processToken } from "../../runtime/store";
import { plainHead, sha256, writeManifest, writePack } from "../support/hostile-manifest";
import {
  describeTree,
  differentTimes,
  makeEnvironment,
  temporaryFolder,
  touch,
  withoutTimes,
  writeFiles,
} from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
let environment: EnvironmentLocation;
beforeEach(() => {
  folder = temporaryFolder();
  environment = makeEnvironment(at("env"), {
    "ComfyUI/large.bin": Buffer.alloc(3_500_000, "0123456789abcde"),
    "ComfyUI/same.bin": Buffer.alloc(3_500_000, "0123456789abcde"),
    "ComfyUI/empty.txt": "",
    [`ComfyUI/${"long-".repeat(40)}/${"name-".repeat(40)}.txt`]: "long",
    "ComfyUI/with 'space' and\nnewline/ünï$HOME 日本 🎨.py": "odd",
    "ComfyUI/-rf": "dash",
    "ComfyUI/back\\slash": "backslash",
    "ComfyUI/link": "→ with 'space' and\nnewline",
    "ComfyUI/far": `→ /${"somewhere/".repeat(30)}`,
    "ComfyUI/circle": "→ circle",
    "ComfyUI/empty folder": null,
  });
  touch(at("env/ComfyUI/main.py"), 1_234_567_890.125);
  touch(at("env/ComfyUI/empty.txt"), 1_500_000_000);
  chmodSync(at("env/ComfyUI/empty folder"), 0o555);
  chmodSync(at("env/ComfyUI/-rf"), 0o400);
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const stays = (path: string) => path === "ComfyUI/models";
const packIt = () => pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") });

function extract(archive: string, target: string): void {
  mkdirSync(at(target));
  execFileSync("tar", ["-xf", archive, "-C", at(target)]);
}

test("GNU tar extracts an export as it was packed: contents, names, permissions, links and times", async () => {
  const { reference, head } = await packIt();

  const exported = await exportToFile({ reference, output: at("studio.tar") });

  expect(exported).toMatchObject({ entries: head.summary.files, bytes: statSync(at("studio.tar")).size });
  extract(at("studio.tar"), "extracted");
  const [original, copy] = [describeTree(at("env"), stays), describeTree(at("extracted"), stays)];
  expect(withoutTimes(copy)).toEqual(withoutTimes(original));
  expect(differentTimes(original, copy)).toEqual([]);
});

test("an export is the same as a restore at the same location, and the same at each time", async () => {
  const { reference, head } = await packIt();
  await exportToFile({ reference, output: at("one.tar") });
  const pieces: Buffer[] = [];
  await exportSnapshot({ reference, write: async (bytes) => void pieces.push(Buffer.from(bytes)) });
  await restore({ reference, target: at("restored"), location: head.root });
  extract(at("one.tar"), "extracted");

  expect(Buffer.concat(pieces).equals(readFileSync(at("one.tar")))).toBe(true);
  expect(withoutTimes(describeTree(at("extracted")))).toEqual(withoutTimes(describeTree(at("restored"), stays)));
});

test("files larger than what plain headers can say, and times before 1970, have them in extended ones", () => {
  const header = tarHeader({
    type: "file",
    path: "large",
    mode: 0o644,
    mtime: "-1.500000000",
    size: 9 * 2 ** 30,
    target: "",
  });

  const records = header.subarray(512, 1024).toString("utf8");
  expect(records).toContain("19 size=9663676416\n");
  expect(records).toContain("14 mtime=-1.5\n");
});

test("any name is listed by GNU tar as it is", () => {
  const name = fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 120 })
    .map((text) => text.replaceAll(/[/\0]/g, "_"))
    .filter((text) => text !== "." && text !== "..");
  const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));
  fc.assert(
    fc.property(path, fc.integer({ min: 0, max: 600 }), (file, size) => {
      const header = tarHeader({ type: "file", path: file, mode: 0o644, mtime: "7.000000000", size, target: "" });
      const archive = Buffer.concat([header, Buffer.alloc(size, 1), tarPadding(size), tarEnd]);

      const listed = execFileSync("tar", ["-t", "--null", "--quoting-style=literal", "-f", "-"], { input: archive });

      expect(listed.toString("utf8")).toBe(`${file}\n`);
    }),
    { numRuns: 40 },
  );
});

describe("damage", () => {
  const packFile = () => {
    const [name = ""] = readdirSync(at("store/packs"), { recursive: true })
      .map(String)
      .filter((path) => /\w{64}$/.test(path));
    chmodSync(at("store/packs", name), 0o644);
    return at("store/packs", name);
  };

  /** What a damaged snapshot gives as a stream. */
  async function stream(reference: string): Promise<{ archive: Buffer; error: unknown }> {
    const pieces: Buffer[] = [];
    const error = await exportSnapshot({
      reference,
      write: async (bytes) => void pieces.push(Buffer.from(bytes)),
    }).then(
      () => null,
      (reason: unknown) => reason,
    );
    return { archive: Buffer.concat(pieces), error };
  }

  test.each<[string, (path: string) => void]>([
    ["at its end", (path) => truncateSync(path, statSync(path).size - 10)],
    [
      "at its beginning",
      (path) => {
        const bytes = readFileSync(path);
        bytes[100] = (bytes[100] ?? 0) ^ 255;
        writeFileSync(path, bytes);
      },
    ],
    ["by being gone", (path) => rmSync(path)],
  ])("of a pack %s leaves no file, and a stream that tar does not take for complete", async (_, damage) => {
    const { reference } = await packIt();
    damage(packFile());

    await expect(exportToFile({ reference, output: at("studio.tar") })).rejects.toBeInstanceOf(DamagedSnapshotError);
    const { archive, error } = await stream(reference);

    expect(readdirSync(folder.path).filter((name) => name.includes("studio.tar"))).toEqual([]);
    expect(error).toBeInstanceOf(DamagedSnapshotError);
    const listed = spawnSync("tar", ["-tf", "-"], { input: archive, encoding: "utf8" });
    expect(listed.status).not.toBe(0);
    expect(listed.stderr).toMatch(/Unexpected EOF|does not look like a tar archive/);
  });

  test("of what the manifest says of a file is found before its last bytes are out", async () => {
    const content = Buffer.from("not what it says");
    const { pack: record, frame } = writePack(at("store"), content);
    const reference = writeManifest(at("store"), [
      plainHead,
      record,
      frame,
      ...["a", "b"].map((path) => ({
        type: "file",
        path,
        mode: "644",
        mtime: "1.000000000",
        size: content.length,
        sha256: path === "a" ? sha256(content) : "1".repeat(64),
        parts: [[0, 0, content.length]],
      })),
    ]);

    const { archive, error } = await stream(reference);

    expect((error as Error).message).toContain("b: what the manifest's parts give");
    expect(spawnSync("tar", ["-tf", "-"], { input: archive, encoding: "utf8" }).stderr).toContain("Unexpected EOF");
  });
});

test("a file that is there stays until the new one is complete, and what killed exports left is removed", async () => {
  const { reference } = await packIt();
  const dead = `studio.tar.${processToken().split("-")[0]}-4194305-1-00000001.partial`;
  writeFiles(folder.path, { "studio.tar": "earlier", [dead]: "half" });

  const missing = reference.replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
  await expect(exportToFile({ reference: missing, output: at("studio.tar") })).rejects.toBeInstanceOf(
    SnapshotNotFoundError,
  );
  expect(readFileSync(at("studio.tar"), "utf8")).toBe("earlier");
  expect(existsSync(at(dead))).toBe(false);

  await exportToFile({ reference, output: at("studio.tar") });
  expect(statSync(at("studio.tar")).size).toBeGreaterThan(7_000_000);
});

test("an export can be stopped", async () => {
  const { reference } = await packIt();
  const stop = new AbortController();
  const write = async () => stop.abort(new Error("enough"));

  await expect(exportSnapshot({ reference, write, signal: stop.signal })).rejects.toThrow("enough");
});
