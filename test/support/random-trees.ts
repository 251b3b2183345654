import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { type Files, touch, writeFiles } from "./trees";

const name = fc.oneof(
  fc.stringMatching(/^[a-z]{1,8}(\.py)?$/),
  fc.constantFrom(
    "with space",
    "ünïcode-日本",
    "new\nline",
    "émoji 🎨",
    "-rf",
    "a".repeat(200),
    "quote'\"",
    "\ufffd",
    "back\\slash",
    "\uffee",
  ),
);
const content = fc.oneof(
  fc.constant(Buffer.alloc(0)),
  fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
  fc.tuple(fc.integer({ min: 1, max: 255 }), fc.integer({ min: 1_048_570, max: 2_500_000 })).map(([byte, size]) => {
    const large = Buffer.alloc(size, byte);
    large.writeUInt32LE(size, size - 4);
    return large;
  }),
);
const node = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("file" as const),
      content,
      executable: fc.boolean(),
      seconds: fc.integer({ min: 0, max: 2_000_000_000 }),
      fraction: fc.integer({ min: 0, max: 999_999 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("link" as const),
      target: fc.constantFrom("../main.py", "/nowhere/at all", ".", "nöwhere"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("folder" as const) }) },
);
type Node = typeof node extends fc.Arbitrary<infer T> ? T : never;

/** What may be in a tree: where it is, and what; later ones may be in the way of earlier ones. */
export const randomNodes = fc.array(fc.tuple(fc.array(name, { minLength: 1, maxLength: 4 }), node), { maxLength: 12 });

/** Makes a tree of them; one whose name another has already is left out. */
export function placeNodes(base: string, nodes: readonly (readonly [path: readonly string[], what: Node])[]): void {
  mkdirSync(base, { recursive: true });
  for (const [path, what] of nodes) placeNode(base, path, what);
}

function placeNode(base: string, path: readonly string[], what: Node): void {
  const absolute = join(base, ...path);
  try {
    if (lstatSync(absolute, { throwIfNoEntry: false }) !== undefined) return;
    if (what.kind === "folder") mkdirSync(absolute, { recursive: true });
    else
      writeFiles(base, { [path.join("/")]: what.kind === "link" ? `→ ${what.target}` : what.content } satisfies Files);
  } catch (error) {
    // A name above is a file or link already.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST" && code !== "ENOTDIR" && code !== "ENOENT" && code !== "ELOOP" && code !== "EACCES")
      throw error;
    return;
  }
  if (what.kind !== "file") return;
  chmodSync(absolute, what.executable ? 0o755 : 0o640);
  touch(absolute, what.seconds + what.fraction / 1e6);
}
