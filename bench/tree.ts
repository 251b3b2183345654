import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  constants,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

/** The real trees that everything is measured on, in the environment's default layout. */
export interface Trees {
  /** A virtual environment with torch and what ComfyUI requires, grown to at least {@link leastFiles} files. */
  readonly full: string;
  /** Every other file of it by size: half the files, about half the bytes. */
  readonly half: string;
  /** Folder with the wheel that upgrades one distribution. */
  readonly wheels: string;
}

export interface TreeSize {
  readonly files: number;
  readonly bytes: number;
}

const leastFiles = 100_000;
const leastBytes = 2e9;
/** What is upgraded by the metric that measures it; its older version is in the requirements. */
export const upgrade = "transformers==4.47.1";
/** Grows when the same requirements would give another tree. */
const format = 1;
/** The newest Python for which the pinned torch has wheels comes first. */
const pythons = ["python3.11", "python3.10", "python3"];

/**
 * Builds the trees where they are missing, in `<folder>/<hash of what they are made from>`. The first time takes some
 * minutes, about 3 GB from PyPI and 8 GB of disk; a build that was killed starts anew.
 */
export function provideTrees(folder: string, repository: string, say: (line: string) => void): Trees {
  const requirements = join(repository, "bench", "tree-requirements.txt");
  const key = createHash("sha256")
    .update(`${format} ${upgrade}\n`)
    .update(readFileSync(requirements))
    .digest("hex")
    .slice(0, 16);
  const place = join(folder, key);
  const trees: Trees = { full: join(place, "full"), half: join(place, "half"), wheels: join(place, "wheels") };
  const complete = join(place, "complete");
  if (existsSync(complete)) return trees;
  say(`building the tree in ${place}`);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(trees.full, { recursive: true });
  copyComfyUI(repository, trees.full);
  const python = suitablePython();
  const venv = join(trees.full, "venv");
  const quiet = ["--disable-pip-version-check", "--no-input", "--quiet", "--only-binary", ":all:"];
  run([python, "-m", "venv", venv]);
  say("installing its distributions from PyPI");
  const pip = [join(venv, "bin", "python"), "-m", "pip"];
  // All in one go and without pip's cache: of what is downloaded, nothing but the tree stays.
  run([...pip, "install", ...quiet, "--no-cache-dir", "--requirement", requirements]);
  run([...pip, "download", ...quiet, "--no-cache-dir", "--no-deps", "--dest", trees.wheels, upgrade]);
  const { files, bytes } = sizeOf(trees.full);
  if (files < leastFiles || bytes < leastBytes) {
    throw new Error(`the tree has ${files} files and ${bytes} bytes; add distributions to ${requirements}`);
  }
  say("copying half of it");
  copyHalf(trees.full, trees.half);
  writeFileSync(complete, "");
  return trees;
}

/** Regular files and their bytes. */
export function sizeOf(folder: string): TreeSize {
  let files = 0;
  let bytes = 0;
  for (const { size } of regularFiles(folder)) {
    files += 1;
    bytes += size;
  }
  return { files, bytes };
}

/** Copies a tree with its times and modes to where it may be changed. */
export function copyTree(from: string, to: string): void {
  run(["cp", "--archive", "--reflink=auto", from, to]);
}

/**
 * Changes one of a hundred files, always the same ones: files of up to 1 MiB, as edits and small upgrades do. Text gets a
 * line, other files 16 other bytes in their middle. Gives the paths of the changed files.
 */
export function changeOnePercent(folder: string): readonly string[] {
  const all = [...regularFiles(folder)];
  // pip must still run afterwards, and what says what ComfyUI is and where Python is must stay readable.
  const fixed = /(^|\/)(venv\/bin|custom_nodes|pip|setuptools)\/|pyvenv\.cfg$|comfyui_version\.py$/;
  const eligible = all
    .filter(({ path, size }) => size > 0 && size <= 1024 * 1024 && !fixed.test(path))
    .map(({ path }) => ({ path, order: orderOf(path) }))
    .sort((a, b) => (a.order < b.order ? -1 : 1));
  const chosen = eligible.slice(0, Math.ceil(all.length / 100)).map(({ path }) => path);
  for (const path of chosen) {
    const file = join(folder, path);
    const content = readFileSync(file);
    const noise = createHash("sha256").update(`changed ${path}`).digest("hex").slice(0, 16);
    if (content.includes(0)) {
      Buffer.from(noise).copy(content, Math.floor(content.length / 2));
      replaceFile(file, content);
    } else {
      replaceFile(file, Buffer.concat([content, Buffer.from(`\n# ${noise}\n`)]));
    }
  }
  return chosen;
}

/** Upgrades one distribution in a tree as a person would. */
export function upgradeDistribution(folder: string, wheels: string): void {
  const python = join(folder, "venv", "bin", "python");
  const quiet = ["--disable-pip-version-check", "--no-input", "--quiet", "--no-deps"];
  run([python, "-m", "pip", "install", ...quiet, "--no-index", "--find-links", wheels, upgrade]);
}

/** By another file, as editors and pip do: what has the old one as well, by a hard link, keeps it. */
function replaceFile(path: string, content: Buffer): void {
  const { mode } = lstatSync(path);
  const partial = `${path}.partial`;
  writeFileSync(partial, content);
  chmodSync(partial, mode & 0o7777);
  renameSync(partial, path);
}

function orderOf(path: string): string {
  return createHash("sha256").update(path).digest("hex");
}

function copyComfyUI(repository: string, tree: string): void {
  const from = join(repository, "examples", "local");
  const filter = (path: string) => basename(path) !== "__pycache__";
  cpSync(join(from, "stand-in"), join(tree, "ComfyUI"), { recursive: true, filter });
  cpSync(join(from, "plugins"), join(tree, "ComfyUI", "custom_nodes"), { recursive: true, filter });
  mkdirSync(join(tree, "ComfyUI", "models", "checkpoints"), { recursive: true });
  mkdirSync(join(tree, ".cache"));
}

function suitablePython(): string {
  for (const python of pythons) {
    const { status, stdout } = spawnSync(python, ["-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"], {
      encoding: "utf8",
    });
    const [major = 0, minor = 0] = status === 0 ? stdout.trim().split(" ").map(Number) : [];
    if (major === 3 && minor >= 10 && minor <= 11) return python;
  }
  throw new Error("the tree needs Python 3.10 or 3.11 with venv, for which its distributions have wheels");
}

function copyHalf(from: string, to: string): void {
  const whole = /^ComfyUI\/|^venv\/(bin\/|pyvenv\.cfg)/;
  const bySize = [...regularFiles(from)].sort((a, b) => b.size - a.size || (a.path < b.path ? -1 : 1));
  // Of four neighbours the outer two: the halves then have about the same bytes as well.
  const chosen = bySize.filter(({ path }, index) => whole.test(path) || index % 4 === 0 || index % 4 === 3);
  for (const { path } of chosen) {
    const [source, target] = [join(from, path), join(to, path)];
    const { mode, atimeMs, mtimeMs } = lstatSync(source);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(source, target, constants.COPYFILE_FICLONE);
    chmodSync(target, mode);
    utimesSync(target, atimeMs / 1000, mtimeMs / 1000);
  }
  for (const path of links(from)) {
    mkdirSync(dirname(join(to, path)), { recursive: true });
    symlinkSync(readlinkSync(join(from, path)), join(to, path));
  }
  mkdirSync(join(to, "ComfyUI", "models", "checkpoints"), { recursive: true });
  mkdirSync(join(to, ".cache"), { recursive: true });
}

function* regularFiles(root: string): Generator<{ readonly path: string; readonly size: number }> {
  for (const { path, found } of everything(root)) if (found.isFile()) yield { path, size: found.size };
}

function* links(root: string): Generator<string> {
  for (const { path, found } of everything(root)) if (found.isSymbolicLink()) yield path;
}

function* everything(root: string, folder = ""): Generator<{ path: string; found: Stats }> {
  for (const name of readdirSync(join(root, folder)).sort()) {
    const path = folder === "" ? name : `${folder}/${name}`;
    const found = lstatSync(join(root, path));
    yield { path, found };
    if (found.isDirectory()) yield* everything(root, path);
  }
}

function run(argv: readonly string[]): void {
  const [file = "", ...args] = argv;
  const { status, signal, error, stderr } = spawnSync(file, args, {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
  });
  if (status === 0) return;
  const how = error?.message ?? (signal === null ? `exit code ${status}` : signal);
  throw new Error(`${argv.join(" ")} failed (${how}): ${(stderr ?? "").slice(-2000)}`);
}
