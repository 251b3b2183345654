import { createHash } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { defaultLayout, type EnvironmentLocation } from "../../runtime/environment";

/** A folder of its own for a test, which removes it at the end. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "pulumi-comfyui-")));
  return {
    path,
    remove: () => {
      makeWritable(path);
      rmSync(path, { recursive: true, force: true });
    },
  };
}

/** Files by path; a content that starts with `→ ` is a link to what follows, one of null an empty folder. */
export type Files = Readonly<Record<string, string | Buffer | null>>;

export function writeFiles(root: string, files: Files): void {
  for (const [path, content] of Object.entries(files)) {
    const absolute = join(root, path);
    mkdirSync(content === null ? absolute : dirname(absolute), { recursive: true });
    if (content === null) continue;
    if (typeof content === "string" && content.startsWith("→ ")) symlinkSync(content.slice(2), absolute);
    else writeFileSync(absolute, content);
  }
}

/**
 * The smallest environment that passes every check. Its virtual environment holds no Python: what looks like the interpreter
 * is a link to a program that is on every machine that runs the tests.
 */
export function makeEnvironment(root: string, files: Files = {}): EnvironmentLocation {
  writeFiles(root, {
    "ComfyUI/main.py": "print('ComfyUI')\n",
    "ComfyUI/comfyui_version.py": '__version__ = "0.3.64"\n',
    "ComfyUI/custom_nodes/good_plugin/__init__.py": "NODE_CLASS_MAPPINGS = {}\n",
    "ComfyUI/custom_nodes/good_plugin/pyproject.toml": '[project]\nname = "good"\nversion = "1.2.0"\n',
    "ComfyUI/models/checkpoints/tiny.safetensors": "weights",
    "venv/pyvenv.cfg": `home = ${dirname(process.execPath)}\nexecutable = ${process.execPath}\nversion = 3.11.7\ncommand = ${process.execPath} -m venv ${root}/venv\n`,
    "venv/bin/python": `→ ${process.execPath}`,
    "venv/bin/pip": `#!${root}/venv/bin/python\nimport pip\n`,
    "venv/lib/python3.11/site-packages/six.py": "PY3 = True\n",
    "venv/lib/python3.11/site-packages/six-1.17.0.dist-info/METADATA":
      "Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\n\nText\n",
    ".cache/huggingface/hub/models--a/blobs/0f": "blob",
    ...files,
  });
  chmodSync(join(root, "venv/bin/pip"), 0o755);
  return { root, layout: defaultLayout };
}

export interface Described {
  readonly type: "file" | "directory" | "link";
  readonly mode: number;
  /** SHA-256 of a file's content, or a link's target. */
  readonly content: string;
  /** Nanoseconds, of files only. */
  readonly mtime: bigint;
}

/** What is below a folder, for comparison. */
export function describeTree(root: string, skip: (path: string) => boolean = () => false): Record<string, Described> {
  const found: Record<string, Described> = {};
  const visit = (folder: string) => {
    for (const name of readdirSync(join(root, folder))) {
      const path = folder === "" ? name : `${folder}/${name}`;
      if (skip(path)) continue;
      const absolute = join(root, path);
      const stat = lstatSync(absolute, { bigint: true });
      const mode = Number(stat.mode & 0o777n);
      if (stat.isSymbolicLink()) found[path] = { type: "link", mode: 0, content: readlinkSync(absolute), mtime: 0n };
      else if (stat.isDirectory()) {
        found[path] = { type: "directory", mode, content: "", mtime: 0n };
        visit(path);
      } else {
        const content = createHash("sha256").update(readFileSync(absolute)).digest("hex");
        found[path] = { type: "file", mode, content, mtime: stat.mtimeNs };
      }
    }
  };
  visit("");
  return found;
}

/** The same tree, its times left out. */
export function withoutTimes(tree: Record<string, Described>): Record<string, Omit<Described, "mtime">> {
  return Object.fromEntries(
    Object.entries(tree).map(([path, { type, mode, content }]) => [path, { type, mode, content }]),
  );
}

/**
 * Paths whose times differ by more than a microsecond, which is what Node.js can set, or are in another second, by which
 * Python would take its byte code for outdated.
 */
export function differentTimes(a: Record<string, Described>, b: Record<string, Described>): readonly string[] {
  return Object.keys(a).filter((path) => {
    const [one, other] = [a[path]?.mtime ?? 0n, b[path]?.mtime ?? 0n];
    const difference = one - other;
    return difference > 1000n || difference < -1000n || one / 1_000_000_000n !== other / 1_000_000_000n;
  });
}

/** Sets a file's time without changing its content. */
export function touch(path: string, seconds: number): void {
  utimesSync(path, seconds, seconds);
}

function makeWritable(path: string): void {
  if (!lstatSync(path).isDirectory()) return;
  chmodSync(path, 0o700);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) makeWritable(join(path, entry.name));
  }
}
