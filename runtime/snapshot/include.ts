import ignore from "ignore";
import { InvalidInputError } from "../problems";
import type { Manifest } from "./manifest-file";
import type { ManifestEntry } from "./manifest-records";
import { foldersAbove } from "./paths";

/**
 * A manifest of only the entries that some patterns match, and the folders above them. The patterns have the syntax of `.gitignore`;
 * what they would ignore is what stays. Throws an `InvalidInputError` where nothing matches.
 */
export function selectEntries(manifest: Manifest, patterns: readonly string[]): Manifest {
  const matcher = ignore({ ignoreCase: false }).add([...patterns]);
  const matches = ({ path, type }: ManifestEntry) => matcher.ignores(type === "directory" ? `${path}/` : path);
  const wanted = new Set<string>();
  for (const entry of manifest.entries) {
    if (!matches(entry)) continue;
    wanted.add(entry.path);
    for (const folder of foldersAbove(entry.path)) wanted.add(folder);
  }
  if (wanted.size === 0) {
    throw new InvalidInputError([
      {
        path: "include",
        reason: `nothing of the snapshot matches ${patterns.map((pattern) => JSON.stringify(pattern)).join(", ")}`,
      },
    ]);
  }
  return { ...manifest, partial: true, entries: manifest.entries.filter(({ path }) => wanted.has(path)) };
}
