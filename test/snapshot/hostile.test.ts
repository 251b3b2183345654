import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DamagedSnapshotError, readHead, restore, verify } from "../../runtime/snapshot";
import { plainHead, sha256, writeManifest, writePack } from "../support/hostile-manifest";
import { temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const content = Buffer.from("evil");

function fileAt(path: string, change: object = {}) {
  return {
    type: "file",
    path,
    mode: "644",
    mtime: "1.000000000",
    size: 4,
    sha256: sha256(content),
    parts: [[0, 0, 4]],
    ...change,
  };
}

const directory = (path: string) => ({ type: "directory", path, mode: "755" });
const link = (path: string, target: string) => ({ type: "link", path, target });

async function refusal(entries: readonly object[], change: { head?: object; pack?: object; frame?: object } = {}) {
  const { pack, frame } = writePack(at("store"), content);
  const reference = writeManifest(at("store"), [
    { ...plainHead, ...change.head },
    { ...pack, ...change.pack },
    { ...frame, ...change.frame },
    ...entries,
  ]);
  mkdirSync(at("place"));
  const error = await restore({ reference, target: at("place/target") }).then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(readdirSync(at("place"))).toEqual([]);
  expect(readdirSync(folder.path).sort()).toEqual(["place", "store"]);
  return error;
}

test.each([
  ["climbs out", [fileAt("../evil")]],
  ["climbs out from below", [directory("a"), fileAt("a/../../evil")]],
  ["is absolute", [fileAt("/tmp/evil")]],
  ["has a NUL", [fileAt("a\0b")]],
  ["has an empty segment", [directory("a"), fileAt("a//b")]],
  ["is empty", [fileAt("")]],
  ["is there twice", [fileAt("a"), fileAt("a")]],
  ["is not in order", [fileAt("b"), fileAt("a")]],
  ["lies below a link", [link("a", "/tmp"), fileAt("a/evil")]],
  ["lies below a file", [fileAt("a"), fileAt("a/evil")]],
  ["lies in a folder that is not listed", [fileAt("a/evil")]],
] as const)("an entry whose path %s is refused, and nothing is written", async (_, entries) => {
  expect(await refusal(entries)).toBeInstanceOf(DamagedSnapshotError);
});

test.each([
  ["a part outside of its frame", [fileAt("a", { size: 5, parts: [[0, 0, 5]] })], {}],
  ["a part of a frame that is not listed", [fileAt("a", { parts: [[1, 0, 4]] })], {}],
  ["other parts than its size", [fileAt("a", { size: 9 })], {}],
  ["a frame outside of its pack", [fileAt("a")], { frame: { length: 1000 } }],
  ["a frame of a pack that is not listed", [fileAt("a")], { frame: { pack: 7 } }],
  ["a frame that holds more than it says", [fileAt("a", { size: 3, parts: [[0, 0, 3]] })], { frame: { size: 3 } }],
  ["a frame that holds less than it says", [fileAt("a")], { frame: { size: 5 } }],
  ["a frame with other content", [fileAt("a")], { frame: { sha256: "1".repeat(64) } }],
  ["a frame that is too large to be held in memory", [fileAt("a")], { frame: { size: 2 ** 40 } }],
  ["a mode that is none", [fileAt("a", { mode: "4755" })], {}],
  ["a size that is no number", [fileAt("a", { size: -1 })], {}],
  ["a layout that climbs out", [fileAt("a")], { head: { layout: { ...plainHead.layout, models: "../models" } } }],
  ["a format of a newer version", [fileAt("a")], { head: { format: 3 } }],
  ["the format whose frames have the hashes of their content", [fileAt("a")], { head: { format: 1 } }],
] as const)("a manifest with %s is refused, and nothing is written", async (_, entries, change) => {
  expect(await refusal(entries, change)).toBeInstanceOf(DamagedSnapshotError);
});

test("the models' folder is not made through a link", async () => {
  mkdirSync(at("outside"));
  const reference = writeManifest(at("store"), [plainHead, link("ComfyUI", at("outside"))]);

  await expect(restore({ reference, target: at("target") })).rejects.toThrow();

  expect(readdirSync(at("outside"))).toEqual([]);
  expect(readdirSync(folder.path).sort()).toEqual(["outside", "store"]);
});

test("links lead where they did, wherever that is: a virtual environment's own lead to the interpreter", async () => {
  const reference = writeManifest(at("store"), [plainHead, link("a", "/usr/bin/env"), link("b", "../../x")]);

  await restore({ reference, target: at("target") });

  expect(readdirSync(at("target")).sort()).toEqual(["ComfyUI", "a", "b"]);
});

test("a deep verification notices parts that do not give what the manifest says", async () => {
  const { pack, frame } = writePack(at("store"), content);
  const reference = writeManifest(at("store"), [plainHead, pack, frame, fileAt("a", { sha256: "1".repeat(64) })]);

  const { problems } = await verify({ reference, deep: true });

  expect(problems).toEqual([expect.stringContaining("a: ")]);
});

test.each([
  ["no JSON", ["{", "{}"]],
  ["nothing", []],
])("a manifest of %s is damaged", async (_, lines) => {
  const { zstdCompressSync } = await import("node:zlib");
  const { writeFileSync } = await import("node:fs");
  const bytes = zstdCompressSync(Buffer.from(lines.map((line) => `${line}\n`).join("")));
  mkdirSync(at("store/snapshots"), { recursive: true });
  writeFileSync(at("store/snapshots", sha256(bytes)), bytes);

  await expect(readHead(`${at("store")}#sha256:${sha256(bytes)}`)).rejects.toBeInstanceOf(DamagedSnapshotError);
});
