import { openStore, type StoreSettings } from "../store";
import { relocateTarget, rootMark } from "./known-places";
import { type Manifest, readManifest, readManifestHead } from "./manifest-file";
import { compareBytes, joinPath } from "./paths";
import { formatReference, parseReference } from "./reference";
import { isExecutable } from "./tree-entry";
import {
  type CountedEntry,
  DamagedSnapshotError,
  type ListedSnapshot,
  type ManifestHead,
  SnapshotNotFoundError,
} from "./types";

/**
 * What a snapshot is, without its content. Throws `SnapshotNotFoundError` where the store has no such manifest, and
 * `DamagedSnapshotError` where it is not what its digest says. `settings` are for a store in a bucket.
 */
export async function readHead(reference: string, settings?: StoreSettings): Promise<ManifestHead> {
  const { store, digest } = parseReference(reference);
  return readManifestHead(openStore(store, settings), digest);
}

/** What counts of a snapshot, sorted by path, for comparison with a scan. Throws as {@link readHead} does. */
export async function readCounted(reference: string, settings?: StoreSettings): Promise<readonly CountedEntry[]> {
  const { store, digest } = parseReference(reference);
  return countedIn(await readManifest(openStore(store, settings), digest));
}

/**
 * The snapshots of a store, newest first; none where nothing was packed to it yet. A damaged manifest does not hide the
 * others: `report` is told of it (default: a process warning).
 */
export async function listSnapshots(
  store: string,
  report: (problem: string) => void = (problem) => process.emitWarning(problem),
  settings?: StoreSettings,
): Promise<readonly ListedSnapshot[]> {
  const opened = openStore(store, settings);
  const found: { at: number; snapshot: ListedSnapshot }[] = [];
  for await (const { key, storedAt } of opened.list("snapshots/")) {
    const digest = key.slice(key.lastIndexOf("/") + 1);
    try {
      const { summary } = await readManifestHead(opened, digest);
      const reference = formatReference({ store: opened.location, digest });
      found.push({
        at: storedAt.getTime(),
        snapshot: { reference, digest, storedAt: storedAt.toISOString(), summary },
      });
    } catch (error) {
      if (!(error instanceof DamagedSnapshotError || error instanceof SnapshotNotFoundError)) throw error;
      report(error.message);
    }
  }
  return found
    .sort((a, b) => b.at - a.at || compareBytes(a.snapshot.digest, b.snapshot.digest))
    .map(({ snapshot }) => snapshot);
}

function countedIn({ head, entries }: Manifest): readonly CountedEntry[] {
  const counted = entries.flatMap((entry): CountedEntry[] => {
    const { path, type } = entry;
    if (entry.counts === false) return [];
    if (type === "directory") return [{ path, type, executable: false, content: "" }];
    if (type === "link") {
      const content = relocateTarget(entry.target, head.root, rootMark) ?? entry.target;
      return [{ path, type, executable: false, content }];
    }
    const executable = isExecutable(Number.parseInt(entry.mode, 8));
    return [{ path, type, executable, content: entry.identity ?? entry.sha256 }];
  });
  if (head.models.mode !== "locked") return counted;
  const locked = head.models.files.map(({ path, sha256 = "" }): CountedEntry => {
    return { path: joinPath(head.layout.models, path), type: "file", executable: false, content: sha256 };
  });
  return [...counted, ...locked].sort((a, b) => compareBytes(a.path, b.path));
}
