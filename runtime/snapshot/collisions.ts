import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RestoreRefusedError } from "./types";

/** What entries a manifest has. */
interface Named {
  readonly entries: readonly { readonly path: string }[];
}

/** Which different names a file system takes for one. */
export interface Folding {
  /** `Readme` and `README`. */
  readonly letterCase: boolean;
  /** `é` as one character and as `e` with an accent. */
  readonly normalization: boolean;
}

/**
 * Throws a `RestoreRefusedError` where two entries of a folder would be one in the file system that is to hold them. Names that
 * only differ so are rare, so the file system is tried only where there are some.
 */
export function refuseCollisions(manifest: Named, folder: string, probe = probeFolding): void {
  const found = collisions(manifest, { letterCase: true, normalization: true });
  if (found === null) return;
  const folding = probe(folder);
  const collision = collisions(manifest, folding);
  if (collision === null) return;
  const [one, other] = collision;
  throw new RestoreRefusedError(
    `${JSON.stringify(one)} and ${JSON.stringify(other)} are one name to the file system of ${folder}; restore to one that tells ` +
      "upper from lower case and keeps names as they are, for example ext4, XFS or Btrfs",
  );
}

function collisions({ entries }: Named, folding: Folding): readonly [string, string] | null {
  if (!folding.letterCase && !folding.normalization) return null;
  // Of two different paths that become one, one at least is not yet what both become. Few are not, so only those are kept.
  const changed = new Map<string, string>();
  for (const { path } of entries) {
    const folded = fold(path, folding);
    if (folded === path) continue;
    // Folders that are one make everything below them meet; their own names are what is told.
    const before = changed.get(folded);
    if (before !== undefined) return [before, path];
    changed.set(folded, path);
  }
  if (changed.size === 0) return null;
  for (const { path } of entries) {
    const other = changed.get(path);
    if (other !== undefined && fold(path, folding) === path) return other < path ? [other, path] : [path, other];
  }
  return null;
}

const plain = /^[\0-\x7f]*$/;

function fold(path: string, { letterCase, normalization }: Folding): string {
  // Nearly all are, and most have no upper case: no other text is made of those.
  if (plain.test(path)) return letterCase ? path.toLowerCase() : path;
  const normal = normalization ? path.normalize("NFC") : path;
  // Both ways, since some letters have only one of the two forms, or several of one.
  return letterCase ? normal.toUpperCase().toLowerCase() : normal;
}

/** Finds out by a file in the folder, which is removed again. */
export function probeFolding(folder: string): Folding {
  return {
    letterCase: isOne(folder, "folding-probe", "FOLDING-PROBE"),
    normalization: isOne(folder, "folding-prob\u00e9", "folding-probe\u0301"),
  };
}

function isOne(folder: string, name: string, other: string): boolean {
  const path = join(folder, name);
  writeFileSync(path, "", { flag: "wx" });
  try {
    return existsSync(join(folder, other));
  } finally {
    rmSync(path, { force: true });
  }
}
