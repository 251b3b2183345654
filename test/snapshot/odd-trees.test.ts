import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exportToFile, pack, restore, scan } from "../../runtime/snapshot";
import { describeTree, differentTimes, makeEnvironment, temporaryFolder, withoutTimes } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const at = (...names: string[]) => join(folder.path, ...names);
const stays = (path: string) => path === "ComfyUI/models";

async function packAndRestore(environment: ReturnType<typeof makeEnvironment>, run = 0): Promise<void> {
  const request = { environment, models: "referenced", index: at(`index-${run}`) } as const;
  const { reference, head } = await pack({ ...request, store: at("store"), plugins: [] });
  await restore({ reference, target: at(`restored-${run}`), location: environment.root });
  const [original, copy] = [describeTree(environment.root, stays), describeTree(at(`restored-${run}`), stays)];
  expect(withoutTimes(copy)).toEqual(withoutTimes(original));
  expect(differentTimes(original, copy)).toEqual([]);
  expect((await scan(request)).summary.id).toBe(head.summary.id);
}

test("a huge file that is mostly a hole travels in next to nothing, and arrives whole", {
  timeout: 180_000,
}, async () => {
  const environment = makeEnvironment(at("env"));
  const size = 300 * 2 ** 20 + 5;
  const file = openSync(at("env/ComfyUI/sparse.bin"), "w");
  ftruncateSync(file, size);
  writeSync(file, "in the middle", 150 * 2 ** 20);
  writeSync(file, "end", size - 3);
  closeSync(file);

  await packAndRestore(environment);

  expect(statSync(at("restored-0/ComfyUI/sparse.bin")).size).toBe(size);
});

test("folders as deep as the usual limit are packed and restored", async () => {
  const environment = makeEnvironment(at("env"));
  const deepest = Array<string>(250).fill("d").join("/");
  mkdirSync(at("env/ComfyUI/custom_nodes", deepest), { recursive: true });
  writeFileSync(at("env/ComfyUI/custom_nodes", deepest, "file.py"), "deep = True\n");

  await packAndRestore(environment);
});

type Node =
  | { readonly kind: "file"; readonly size: number; readonly mode: number }
  | { readonly kind: "folder"; readonly mode: number; readonly children: readonly (readonly [string, Node])[] }
  | { readonly kind: "loop"; readonly target: string };

const name = fc.oneof(
  fc.stringMatching(/^[a-zA-Z0-9 ._-]{1,12}$/),
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }),
  fc.string({
    unit: fc.constantFrom("\n", "\t", "'", '"', "\\", "$", "*", "é", "e\u0301", "\u202e", "🎨"),
    minLength: 1,
  }),
);
const usable = name.filter(
  // Names that mean something to the rules of what travels would stay behind.
  (text) =>
    !/[/\0]/.test(text) &&
    !/^\.|^[^a-z]*$|~$|\.(log|tmp|pid|pyc|sw[op]|key|pem)$/i.test(text) &&
    Buffer.byteLength(text) < 200,
);
const { tree } = fc.letrec<{ tree: Node; folder: Node }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.record({
      kind: fc.constant("file" as const),
      size: fc.constantFrom(0, 1, 4095, 4096, 1_048_575, 1_048_576, 1_048_577),
      mode: fc.constantFrom(0o644, 0o600, 0o444, 0o755, 0o500, 0o777),
    }),
    fc.record({
      kind: fc.constant("loop" as const),
      target: fc.constantFrom(".", "..", "../..", "loop", "./loop/../loop", "/", "missing/../missing"),
    }),
    tie("folder"),
  ),
  folder: fc.record({
    kind: fc.constant("folder" as const),
    mode: fc.constantFrom(0o755, 0o555, 0o500, 0o700),
    children: fc.array(fc.tuple(usable, tie("tree")), { maxLength: 5 }),
  }),
}));

/** Makes a tree; folders get their permissions last, since some may not be written to. */
function make(path: string, node: Node): void {
  if (node.kind === "loop") symlinkSync(node.target, path);
  else if (node.kind === "file") {
    writeFileSync(path, Buffer.alloc(node.size, `${node.size} of ${node.mode}`));
    chmodSync(path, node.mode);
  } else {
    mkdirSync(path);
    const made = new Set<string>();
    for (const [child, inner] of node.children) {
      if (made.has(child)) continue;
      made.add(child);
      make(join(path, child), inner);
    }
    chmodSync(path, node.mode);
  }
}

test("trees of odd names, sizes at the edges, read-only folders and links in circles are restored as they were", {
  timeout: 180_000,
}, async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(usable, tree), { maxLength: 6 }), async (nodes) => {
      const environment = makeEnvironment(at(`env-${++run}`));
      const base = join(environment.root, "ComfyUI/custom_nodes/any");
      make(base, { kind: "folder", mode: 0o755, children: nodes });

      await packAndRestore(environment, run);
    }),
    { numRuns: 30 },
  );
});

test("what cannot be stored under its name is an error that names it, and nothing is packed", async () => {
  const environment = makeEnvironment(at("env"));
  writeFileSync(Buffer.concat([Buffer.from(at("env/ComfyUI/bad-")), Buffer.from([0xff, 0xfe])]), "x");

  await expect(
    pack({ environment, models: "referenced", store: at("store"), plugins: [], index: at("index") }),
  ).rejects.toThrow("its name is not valid UTF-8");
});

test("an export of read-only folders and links in circles is extracted by GNU tar as it was", async () => {
  const environment = makeEnvironment(at("env"));
  make(at("env/ComfyUI/custom_nodes/any"), {
    kind: "folder",
    mode: 0o500,
    children: [
      ["loop", { kind: "loop", target: "loop" }],
      ["up", { kind: "loop", target: ".." }],
      ["inner", { kind: "folder", mode: 0o555, children: [["file", { kind: "file", size: 4096, mode: 0o400 }]] }],
    ],
  });
  const request = { environment, models: "referenced", store: at("store"), plugins: [], index: at("index") } as const;
  const { reference } = await pack(request);

  await exportToFile({ reference, output: at("studio.tar") });

  mkdirSync(at("extracted"));
  execFileSync("tar", ["-xpf", at("studio.tar"), "-C", at("extracted")]);
  expect(withoutTimes(describeTree(at("extracted"), stays))).toEqual(withoutTimes(describeTree(at("env"), stays)));
});
