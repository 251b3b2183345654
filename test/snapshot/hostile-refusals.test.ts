import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DamagedSnapshotError, RestoreRefusedError, type RestoreRequest, restore } from "../../runtime/snapshot";
import { type Folding, probeFolding, refuseCollisions } from "../../runtime/snapshot/collisions";
import { plainHead, sha256, writeManifest, writeManifestAsIs, writePack } from "../support/hostile-manifest";
import { temporaryFolder, writeFiles } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const content = Buffer.from("evil");
const directory = (path: string) => ({ type: "directory", path, mode: "755" });
const link = (path: string, target: string) => ({ type: "link", path, target });
const empty = (path: string, change: object = {}) => ({
  type: "file",
  path,
  mode: "644",
  mtime: "1.000000000",
  size: 0,
  sha256: sha256(""),
  parts: [],
  ...change,
});

/** Restores a manifest that has to be refused; nothing may be there afterwards but what was before. */
async function refusal(reference: string, change: Partial<RestoreRequest> = {}): Promise<unknown> {
  mkdirSync(at("place"), { recursive: true });
  const before = readdirSync(folder.path).sort();
  const error = await restore({ reference, target: at("place/target"), ...change }).then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(readdirSync(at("place"))).toEqual([]);
  expect(readdirSync(folder.path).sort()).toEqual(before);
  return error;
}

describe("an entry that is refused is named", () => {
  test.each([
    ["climbs out of the target", [empty("../evil-1")], "../evil-1"],
    ["is absolute", [empty("/tmp/evil-2")], "/tmp/evil-2"],
    ["has a NUL in it", [empty("evil\0-3")], "evil\\u0000-3"],
    ["is no valid text", [empty("evil-\ud800-4")], "evil-"],
    ["is written through a link", [link("a", "/tmp"), empty("a/evil-5")], "a/evil-5"],
    ["is a hard link", [{ type: "hardlink", path: "evil-6", target: "/etc/passwd" }], "evil-6"],
    ["is a device", [{ type: "device", path: "evil-7", mode: "666", major: 1, minor: 3 }], "evil-7"],
    ["is a named pipe", [{ type: "fifo", path: "evil-8", mode: "666" }], "evil-8"],
    ["is set-uid", [empty("evil-9", { mode: "4755" })], "evil-9"],
    ["is a set-gid folder", [{ ...directory("evil-10"), mode: "2755" }], "evil-10"],
    ["is larger than its parts", [empty("evil-11", { size: 7 })], "evil-11"],
    ["has a size below zero", [empty("evil-12", { size: -1 })], "evil-12"],
    ["has a size that no number holds", [empty("evil-13", { size: 1e30 })], "evil-13"],
    ["has a link's target with a NUL", [link("evil-14", "a\0b")], "evil-14"],
    ["has no link's target", [link("evil-15", "")], "evil-15"],
    ["has a time that is none", [empty("evil-16", { mtime: "soon" })], "evil-16"],
    ["is there twice", [empty("evil-17"), empty("evil-17")], "evil-17"],
  ] as const)("when it %s", async (_, entries, name) => {
    const error = await refusal(writeManifest(at("store"), [plainHead, ...entries]));

    expect(error).toBeInstanceOf(DamagedSnapshotError);
    expect((error as Error).message).toContain(name);
  });
});

describe("a manifest with a base is refused", () => {
  const nobody = "a".repeat(64);
  const named = (reference: string) => ({ type: "base", sha256: reference.slice(-64) });
  const removed = (path: string) => ({ type: "removed", path });
  /** With one pack, one frame, and a folder with two files. */
  const writeBase = (...more: readonly object[]) => {
    const { pack, frame } = writePack(at("store"), content);
    const file = empty("d/f", { size: 4, sha256: sha256(content), parts: [[0, 0, 4]] });
    return writeManifest(at("store"), [plainHead, ...more, pack, frame, directory("d"), file, empty("d/g")]);
  };
  const head = (files: number, bytes: number) => ({ ...plainHead, summary: { ...plainHead.summary, files, bytes } });
  const writeChanges = (files: number, bytes: number, ...changes: readonly object[]) =>
    writeManifestAsIs(at("store"), [head(files, bytes), named(writeBase()), ...changes]);

  test("when it is as it should be, but not then", async () => {
    const reference = writeChanges(3, 4, empty("d/e"), removed("d/g"), link("l", "d/f"));
    // A link more than the summary says.
    expect(((await refusal(reference)) as Error).message).toContain(
      "its summary says 3 entries and 4 bytes, but it has 4",
    );

    await restore({
      reference: writeChanges(4, 4, empty("d/e"), removed("d/g"), link("l", "d/f")),
      target: at("target"),
    });

    expect(readdirSync(at("target/d"))).toEqual(["e", "f"]);
    expect(readFileSync(at("target/d/f"))).toEqual(content);
  });

  test.each<[string, () => string, string]>([
    ["is missing", () => writeManifest(at("store"), [plainHead, { type: "base", sha256: nobody }]), "is missing"],
    [
      "is damaged",
      () => {
        const base = writeBase();
        writeFileSync(at("store/snapshots", base.slice(-64)), "no manifest");
        return writeManifestAsIs(at("store"), [head(3, 4), named(base)]);
      },
      "is damaged: its content is not what its digest says",
    ],
    [
      "has a base itself",
      () =>
        writeManifestAsIs(at("store"), [
          head(3, 4),
          named(writeManifestAsIs(at("store"), [head(3, 4), named(writeBase())])),
        ]),
      "names a base, but the manifest is the base of",
    ],
    [
      "removes something itself",
      () => {
        const base = writeManifest(at("store"), [plainHead, directory("d"), removed("d/x")]);
        return writeManifestAsIs(at("store"), [head(1, 0), named(base)]);
      },
      'removes "d/x", but the manifest has no base',
    ],
    [
      "has a path that leads out, which is replaced",
      () =>
        writeManifestAsIs(at("store"), [
          head(1, 0),
          named(writeManifest(at("store"), [plainHead, empty("../x")])),
          removed("../x"),
        ]),
      "leads out of the snapshot",
    ],
    [
      "has entries out of order",
      () =>
        writeManifestAsIs(at("store"), [
          head(2, 0),
          named(writeManifest(at("store"), [plainHead, empty("b"), empty("a")])),
        ]),
      '"a", which is not after "b"',
    ],
  ])("when the base %s", async (_, write, message) => {
    const error = await refusal(write());

    expect(error).toBeInstanceOf(DamagedSnapshotError);
    expect((error as Error).message).toContain(message);
  });

  const part = (number: number, length = 4) => ({ size: length, parts: [[number, 0, length]] });
  const frame = (change: object) => ({
    type: "frame",
    pack: 0,
    offset: 0,
    length: 8,
    size: 4,
    sha256: sha256(content),
    ...change,
  });

  test.each<[string, () => string, string]>([
    [
      "removes what is not there",
      () => writeChanges(3, 4, removed("d/h")),
      'removes "d/h", which its base does not have',
    ],
    [
      "removes what would come last",
      () => writeChanges(3, 4, removed("x")),
      'removes "x", which its base does not have',
    ],
    ["removes a folder that is not empty", () => writeChanges(2, 4, removed("d")), '"d/f", but no such folder'],
    ["makes a file of a folder", () => writeChanges(3, 4, empty("d")), '"d/f", but no such folder'],
    ["makes a link of a folder", () => writeChanges(3, 4, link("d", "/tmp")), '"d/f", but no such folder'],
    ["adds to a folder that is not there", () => writeChanges(4, 4, empty("e/f")), '"e/f", but no such folder'],
    ["has entries out of order", () => writeChanges(5, 4, empty("d/y"), empty("d/x")), "which is not after"],
    ["says something twice", () => writeChanges(3, 4, empty("d/g"), removed("d/g")), "which is not after"],
    ["leads out", () => writeChanges(4, 4, empty("../evil")), "leads out of the snapshot"],
    ["removes what leads out", () => writeChanges(4, 4, removed("../evil")), "leads out of the snapshot"],
    ["names a frame beyond both", () => writeChanges(4, 8, empty("h", part(1))), "names frame 1, which is not listed"],
    ["has a part beyond the frame", () => writeChanges(4, 9, empty("h", part(0, 5))), "lies outside of its frame"],
    [
      "has a frame in a pack beyond both",
      () => writeChanges(3, 4, frame({ pack: 1 })),
      "names pack 1, which is not listed",
    ],
    ["has a frame beyond a base's pack", () => writeChanges(3, 4, frame({ offset: 9000 })), "lies outside of its pack"],
    [
      "lists packs after frames",
      () => writeChanges(3, 4, frame({}), { type: "pack", sha256: nobody, size: 9 }),
      "comes earlier",
    ],
    [
      "names a base later",
      () => writeManifest(at("store"), [plainHead, directory("d"), named(writeBase())]),
      "comes earlier",
    ],
    [
      "names two",
      () => writeManifestAsIs(at("store"), [head(3, 4), named(writeBase()), named(writeBase())]),
      "comes earlier",
    ],
    [
      "names none that can be",
      () => writeManifest(at("store"), [plainHead, { type: "base", sha256: "../x" }]),
      "is not valid",
    ],
  ])("when it %s", async (_, write, message) => {
    const error = await refusal(write());

    expect(error).toBeInstanceOf(DamagedSnapshotError);
    expect((error as Error).message).toContain(message);
  });
});

test.each([
  ["entries", { files: 7, bytes: 0 }],
  ["bytes", { files: 1, bytes: 12 }],
])("a summary that lies about its %s is refused", async (_, lie) => {
  const reference = writeManifestAsIs(at("store"), [
    { ...plainHead, summary: { ...plainHead.summary, ...lie } },
    empty("a"),
  ]);

  const error = await refusal(reference);

  expect(error).toBeInstanceOf(DamagedSnapshotError);
  expect((error as Error).message).toContain("its summary says");
});

describe("a bomb is refused by the limit that it exceeds, before anything is written", () => {
  const many = Array.from({ length: 30 }, (_, number) => empty(`file-${String(number).padStart(3, "0")}`));

  /** Files made of one megabyte of zeros each, again and again. */
  function zeros(files: number): string {
    const { pack, frame } = writePack(at("store"), Buffer.alloc(2 ** 20));
    const size = 2 ** 30;
    const parts = Array.from({ length: 1024 }, () => [0, 0, 2 ** 20]);
    const entries = Array.from({ length: files }, (_, number) => empty(`file-${number}`, { size, parts }));
    return writeManifest(at("store"), [plainHead, pack, frame, ...entries]);
  }

  const deep = Array.from({ length: 300 }, (_, depth) =>
    directory(
      Array(depth + 1)
        .fill("d")
        .join("/"),
    ),
  );

  test.each<[string, () => string, Partial<RestoreRequest>, string]>([
    ["entries", () => writeManifest(at("store"), [plainHead, ...many]), { limits: { entries: 29 } }, "it has 30"],
    ["depth", () => writeManifest(at("store"), [plainHead, ...deep]), {}, "lies 257 folders deep"],
    ["bytes", () => zeros(3), { limits: { bytes: 2 ** 31 } }, "file-2"],
    ["ratio", () => zeros(5), {}, "5368709120 bytes would be made of"],
  ])("%s", async (limit, write, change, found) => {
    const error = await refusal(write(), change);

    expect(error).toBeInstanceOf(RestoreRefusedError);
    expect((error as Error).message).toContain(`the limit of ${limit}, `);
    expect((error as Error).message).toContain(found);
  });

  test("the limits can be raised", async () => {
    const reference = writeManifest(at("store"), [plainHead, ...deep]);

    await restore({ reference, target: at("target"), limits: { depth: 300 } });

    expect(existsSync(at("target", ...Array<string>(300).fill("d")))).toBe(true);
  });

  test("a manifest that expands to very many records is refused while it is read", async () => {
    const { pack, frame } = writePack(at("store"), content);
    const parts = Array.from({ length: 1_500_000 }, () => [0, 0, 1]);
    const entries = ["a", "b", "c", "d"].map((path) => empty(path, { size: 1_500_000, parts }));

    const error = await refusal(writeManifest(at("store"), [plainHead, pack, frame, ...entries]));

    expect((error as Error).message).toContain("is one of more than 5000000, the limit");
  });

  test("a record without end is refused", async () => {
    const head = { ...plainHead, interpreter: "/".repeat(70 * 2 ** 20) };

    const error = await refusal(writeManifest(at("store"), [head]));

    expect((error as Error).message).toContain("has a record of more than");
  });
});

describe("names that a file system may take for one", () => {
  const manifestOf = (...paths: string[]) => ({ entries: paths.map((path) => ({ path })) });
  const tells: Folding = { letterCase: false, normalization: false };
  const composed = "caf\u00e9";
  const decomposed = "cafe\u0301";

  test.each<[string, string, string, Folding]>([
    ["letters of another case", "Readme", "README", { ...tells, letterCase: true }],
    ["letters of another case in a folder above", "a/B/x", "a/b/x", { ...tells, letterCase: true }],
    ["the same letters in another form", composed, decomposed, { ...tells, normalization: true }],
    ["both at once", composed.toUpperCase(), decomposed, { letterCase: true, normalization: true }],
    ["letters with two lower cases", "ΣΑΣ", "σας", { ...tells, letterCase: true }],
  ])("are refused where it does, both named: %s", (_, one, other, folding) => {
    const check = (probed: Folding) => () => refuseCollisions(manifestOf(one, other), folder.path, () => probed);

    expect(check(folding)).toThrow(RestoreRefusedError);
    expect(check(folding)).toThrow(JSON.stringify(one));
    expect(check(folding)).toThrow(JSON.stringify(other));
    expect(check(tells)).not.toThrow();
  });

  test("are the reason to try it, and nothing else is", () => {
    let probes = 0;
    const probe = () => {
      probes += 1;
      return tells;
    };
    refuseCollisions(manifestOf("a", "b", "a/b", composed), folder.path, probe);
    expect(probes).toBe(0);
    refuseCollisions(manifestOf("a", "A"), folder.path, probe);
    expect(probes).toBe(1);
  });

  test("are restored where it tells them apart, and refused where it does not", async () => {
    const folding = probeFolding(folder.path);
    expect(readdirSync(folder.path)).toEqual([]);
    const pairs = { letterCase: ["README", "Readme"], normalization: [decomposed, composed] } as const;
    for (const [kind, pair] of Object.entries(pairs)) {
      const reference = writeManifest(at("store"), [plainHead, ...pair.map((path) => empty(path))]);
      const restored = restore({ reference, target: at(kind) });
      if (folding[kind as keyof Folding]) await expect(restored).rejects.toThrow(RestoreRefusedError);
      else {
        await restored;
        expect(readdirSync(at(kind))).toEqual(expect.arrayContaining([...pair]));
      }
    }
  });
});

describe("a path that the file system would not take", () => {
  /** Folders of 200 bytes each, and as many as fit. */
  const chain = (bytes: number): string[] => {
    const names: string[] = [];
    for (let left = bytes; left > 0; left -= 201) names.push("x".repeat(Math.min(200, left)));
    return names.map((_, depth) => names.slice(0, depth + 1).join("/"));
  };

  test("as a whole is refused, named, with what would be right", async () => {
    const error = await refusal(writeManifest(at("store"), [plainHead, ...chain(4090).map(directory)]));

    expect(error).toBeInstanceOf(RestoreRefusedError);
    expect((error as Error).message).toMatch(/^x+…x*\/?x* is too long: .* restore to a place with a shorter name$/);
  });

  test("for one of its names is refused", async () => {
    const error = await refusal(writeManifest(at("store"), [plainHead, empty("é".repeat(128))]));

    expect((error as Error).message).toContain("its last part has 256 bytes, and a name may have 255");
  });

  test("only nearly is restored, deep as it is", async () => {
    const paths = chain(3700);
    const reference = writeManifest(at("store"), [plainHead, ...paths.map(directory)]);

    await restore({ reference, target: at("target") });

    expect(lstatSync(at("target", paths.at(-1) ?? "")).isDirectory()).toBe(true);
  });
});

describe("what is in place of the models' folder, which every restore makes, is refused", () => {
  test.each([
    ["a link", [link("ComfyUI", "/tmp")], "ComfyUI is a link"],
    ["a file", [directory("ComfyUI"), empty("ComfyUI/models")], "ComfyUI/models is a file"],
  ] as const)("%s", async (_, entries, message) => {
    const error = await refusal(writeManifest(at("store"), [plainHead, ...entries]));

    expect(error).toBeInstanceOf(RestoreRefusedError);
    expect((error as Error).message).toContain(message);
  });

  test("a link that an earlier restore left there", async () => {
    mkdirSync(at("outside"));
    const entries = [link("models", at("outside"))];
    const first = writeManifest(at("store"), [plainHead, ...entries]);
    await restore({ reference: first, target: at("target") });
    const layout = { ...plainHead.layout, models: "models/inner" };
    const second = writeManifest(at("store"), [{ ...plainHead, layout }, ...entries]);

    await expect(restore({ reference: second, target: at("target"), over: true })).rejects.toThrow("models is a link");

    expect(readdirSync(at("outside"))).toEqual([]);
  });
});

test("a link that leads further than a path can is refused", async () => {
  const error = await refusal(writeManifest(at("store"), [plainHead, link("a", "x/".repeat(2048))]));

  expect(error).toBeInstanceOf(RestoreRefusedError);
  expect((error as Error).message).toContain("a leads to a path of 4096 bytes");
});

test("byte code that a link leads to outside is not removed with that of a rewritten script", async () => {
  const source = Buffer.from("root = '/srv/studio/x'\n");
  const packages = "venv/lib/python3.11/site-packages";
  writeFiles(folder.path, { "outside/__editable__mine.cpython-311.pyc": "somebody's" });
  const { pack, frame } = writePack(at("store"), source);
  const folders = ["venv", "venv/lib", "venv/lib/python3.11", packages];
  const reference = writeManifest(at("store"), [
    plainHead,
    pack,
    frame,
    ...folders.map(directory),
    {
      ...empty(`${packages}/__editable__mine.py`),
      size: source.length,
      sha256: sha256(source),
      parts: [[0, 0, source.length]],
    },
    link(`${packages}/__pycache__`, at("outside")),
  ]);

  await restore({ reference, target: at("target") });

  expect(readFileSync(at("target", packages, "__editable__mine.py"), "utf8")).toContain(at("target"));
  expect(readdirSync(at("outside"))).toEqual(["__editable__mine.cpython-311.pyc"]);
});

test("a target that is a link is refused, wherever it leads", async () => {
  mkdirSync(at("outside"));
  symlinkSync(at("outside"), at("link"));
  symlinkSync(at("nowhere"), at("dangling"));
  const reference = writeManifest(at("store"), [plainHead, empty("a")]);

  for (const target of ["link", "dangling"]) {
    await expect(restore({ reference, target: at(target) })).rejects.toThrow("is a link");
  }

  expect(readdirSync(at("outside"))).toEqual([]);
  expect(readdirSync(folder.path).sort()).toEqual(["dangling", "link", "outside", "store"]);
});
