import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const commit = /^[0-9a-f]{40}([0-9a-f]{24})?$/;

/** The commit that a git checkout is at, or null where there is none. Reads git's own files; a submodule's and a worktree's too. */
export function headCommit(folder: string): string | null {
  const own = gitFolder(folder);
  const head = readText(join(own, "HEAD"));
  if (head === null) return null;
  const [, name] = /^ref: (.+)$/.exec(head) ?? [];
  const value = name === undefined ? head : readReference(own, name);
  return value !== null && commit.test(value) ? value : null;
}

/** `.git` is a folder, or a file that says where the folder is. */
function gitFolder(folder: string): string {
  const path = join(folder, ".git");
  const [, elsewhere] = /^gitdir: (.+)$/.exec(readText(path) ?? "") ?? [];
  return elsewhere === undefined ? path : resolve(folder, elsewhere);
}

function readReference(own: string, name: string): string | null {
  const shared = readText(join(own, "commondir"));
  const folders = shared === null ? [own] : [own, resolve(own, shared)];
  for (const folder of folders) {
    const loose = readText(join(folder, name));
    if (loose !== null) return loose;
    const packed = readText(join(folder, "packed-refs")) ?? "";
    const line = packed.split("\n").find((candidate) => candidate.endsWith(` ${name}`));
    if (line !== undefined) return line.slice(0, line.indexOf(" "));
  }
  return null;
}

/** Null where there is no such file: a plugin that is no git checkout, or a damaged one, has no commit to show. */
function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}
