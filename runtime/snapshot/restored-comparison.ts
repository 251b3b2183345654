import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { removeTree } from "../remove-tree";
import type { Watch } from "../waiting";
import { chunkSize } from "./content";
import { incompleteMarker } from "./incomplete";
import { isKnownPlace, largestKnownPlace, relocateTarget } from "./known-places";
import type { Manifest } from "./manifest-file";
import type { SnapshotEntry, SnapshotFile } from "./manifest-table";
import { formatCount, type Pace } from "./pace";
import { type Parts, partNames, partOf, partsOf } from "./parts";
import { compareBytes, foldersAbove, isWithin, joinPath, parentOf } from "./paths";
import type { RestoreOver } from "./restore-over";
import type { RestoreRecord } from "./restore-record";
import type { ThreadChoice } from "./restore-workers";
import type { EntryLooks } from "./restored-look";
import { isAbsent, isUnknown, type Looks, sameNames } from "./threads/look";
import { TravelRules } from "./travel-rules";
import { timeOf } from "./write-plan";
import type { FileWriter } from "./write-tree";

/** One of the snapshot's folders, as it is in the target. */
interface Folder {
  /** Names in it, {@link unknownNames}, or {@link noOthers}. */
  readonly names: number;
  /** Names in it that the snapshot has there as well. */
  found: number;
}

const unknownNames = -1;
/** All of them are the snapshot's as well. */
const noOthers = -2;

/** What is in place of an entry. */
interface Seen {
  readonly mode: number;
  readonly links: number;
  readonly size: number;
  /** Milliseconds. */
  readonly modified: number;
  readonly changed: number;
  /** In a folder: names, or {@link unknownNames}. */
  readonly names: number;
}

/** What is to be done to a folder, found out before anything of it is touched. */
export class RestoredComparison {
  readonly #manifest: Manifest;
  readonly #writeFiles: FileWriter;
  readonly #target: string;
  readonly #location: string;
  readonly #parts: Parts;
  readonly #record: RestoreRecord | null;
  readonly #pace: Pace;
  readonly #rules: TravelRules;
  /** The snapshot's folders that are there, by path. */
  readonly #folders = new Map<string, Folder>();
  /** Never removed: the parts themselves and what they lie in. */
  readonly #protected: ReadonlySet<string>;
  /** In the way of what comes, or not in the snapshot. */
  readonly #remove: string[] = [];
  /** Folders that hold, or have held, what is not the snapshot's. */
  readonly #withExtras = new Set<string>();
  /** Folders that hold what the snapshot lacks, by the record. */
  #withOthers: ReadonlySet<string> = new Set();
  readonly #make: SnapshotEntry[] = [];
  readonly #write: SnapshotFile[] = [];
  /** Of unchanged content, but with another time or other permissions. */
  readonly #adjust: SnapshotFile[] = [];
  readonly #modes = new Map<string, number>();
  readonly #buffer = Buffer.allocUnsafeSlow(chunkSize);

  constructor({ manifest, write, target, location }: RestoreOver, record: RestoreRecord | null, pace: Pace) {
    this.#manifest = manifest;
    this.#writeFiles = write;
    this.#target = target;
    this.#location = location;
    this.#record = record;
    this.#pace = pace;
    this.#parts = partsOf(manifest.head.layout);
    // With a person's own rules, as they stand there now: what they leave out is not the snapshot's.
    this.#rules = TravelRules.of(target, this.#parts);
    const roots = partNames.map((part) => this.#parts[part]);
    this.#protected = new Set(roots.flatMap((root) => [root, ...foldersAbove(root)]));
  }

  /** `isAsSeen`: nothing was written since the folder was first looked at. */
  async run(looks: EntryLooks, isAsSeen: boolean): Promise<void> {
    const { entries } = this.#manifest;
    const { rows, withOthers } = this.#record?.compare(entries) ?? nothingRecorded(entries.length);
    this.#withOthers = withOthers;
    const early = isAsSeen ? await looks.early(this.#pace) : null;
    const others = early === null ? entries : entries.filter((_, number) => (rows[number] ?? -1) < 0);
    const late = await looks.at(
      others.map(({ path }) => path),
      this.#pace,
    );
    let nextLate = 0;
    this.#folders.set("", { names: unknownNames, found: 0 });
    let path = "";
    let folder = this.#folders.get("");
    // In their order a folder comes before what it holds.
    for (const [number, entry] of entries.entries()) {
      const row = rows[number] ?? -1;
      const [found, at] = early === null || row < 0 ? late(nextLate++) : early(row);
      if (this.#pace.due) await this.#pace.rest(() => `compared ${formatCount(number, "files")}`);
      if (!isIn(entry.path, path)) {
        path = parentOf(entry.path);
        folder = this.#folders.get(path);
      }
      // Where its folder is to be made, or another thing is there as yet, whatever was seen is not it.
      const seen = folder === undefined ? null : this.#seen(entry.path, found, at);
      if (seen === null || folder === undefined) this.#add(entry);
      else {
        folder.found += 1;
        this.#compare(entry, seen, row);
      }
    }
    this.#findExtras();
  }

  /** Does it. Returns the entries that were written. */
  async apply(watch: Partial<Watch> & ThreadChoice): Promise<readonly SnapshotEntry[]> {
    const changed = [...this.#remove, ...this.#make.map(({ path }) => path), ...this.#write.map(({ path }) => path)];
    for (const folder of new Set(changed.map(parentOf))) this.#open(folder);
    for (const path of this.#remove) await removeTree(this.#absolute(path));
    for (const entry of this.#make) {
      if (entry.type === "directory") mkdirSync(this.#absolute(entry.path), 0o700);
    }
    for (const file of this.#write) rmSync(this.#absolute(file.path), { force: true });
    for (const file of this.#adjust) {
      chmodSync(this.#absolute(file.path), file.permissions);
      const time = timeOf(file.mtime);
      utimesSync(this.#absolute(file.path), time, time);
    }
    mkdirSync(this.#absolute(this.#parts.models), { recursive: true });
    await this.#writeFiles(this.#target, this.#write, watch);
    const links = this.#make.filter((entry) => entry.type === "link");
    for (const { path, target } of links) symlinkSync(target, this.#absolute(path));
    return [...this.#write, ...links];
  }

  /** Whether a folder of the snapshot holds nothing else, after {@link apply}. */
  readonly hasOnlyEntries = (folder: string): boolean =>
    !this.#withExtras.has(folder) && !isWithin(this.#parts.models, folder);

  /** Gives folders the permissions of the snapshot, the innermost first. */
  finishFolders(): void {
    for (const entry of this.#manifest.entries.toReversed()) {
      if (entry.type !== "directory") continue;
      const mode = entry.permissions;
      if (this.#modes.get(entry.path) !== mode) chmodSync(this.#absolute(entry.path), mode);
    }
  }

  #compare(entry: SnapshotEntry, seen: Seen, row: number): void {
    const { path } = entry;
    const kind = seen.mode & constants.S_IFMT;
    if (entry.type === "directory") {
      if (kind === constants.S_IFDIR) {
        this.#folders.set(path, { names: this.#namesIn(path, seen, row), found: 0 });
        this.#modes.set(path, seen.mode & 0o7777);
        // What may not be read cannot be compared.
        if ((seen.mode & 0o500) !== 0o500) this.#open(path);
        return;
      }
    } else if (entry.type === "link") {
      const target = relocateTarget(entry.target, this.#manifest.head.root, this.#location) ?? entry.target;
      if (kind === constants.S_IFLNK && readlinkSync(this.#absolute(path)) === target) return;
    } else if (kind === constants.S_IFREG) {
      this.#compareFile(entry, seen, row);
      return;
    }
    this.#remove.push(path);
    this.#add(entry);
  }

  #namesIn(path: string, { names }: Seen, row: number): number {
    if (names !== sameNames) return names;
    return this.#record?.hadOnlyEntries(row) === true && !this.#withOthers.has(path) ? noOthers : unknownNames;
  }

  #compareFile(file: SnapshotFile, seen: Seen, row: number): void {
    if (!this.#hasContent(file, seen, row)) this.#write.push(file);
    else if (!this.#isAsWritten(file, seen)) {
      // Its inode may belong to others as well.
      if (seen.links > 1) this.#write.push(file);
      else this.#adjust.push(file);
    }
  }

  #hasContent(file: SnapshotFile, seen: Seen, row: number): boolean {
    if (this.#isRewritten(file)) {
      // What it holds here is not what the snapshot holds, and byte code of it was left out.
      const same = this.#record?.location === this.#location && !file.path.endsWith(".py");
      return same && this.#record?.has(row, file, seen.changed) === true;
    }
    if (seen.size !== file.size) return false;
    return this.#record?.has(row, file, seen.changed) ?? this.#hash(file.path) === file.sha256;
  }

  /** True where a restore elsewhere may write another content than the snapshot's. */
  #isRewritten({ path, size }: SnapshotFile): boolean {
    const { root } = this.#manifest.head;
    return root !== this.#location && size <= largestKnownPlace && isKnownPlace(path, this.#parts);
  }

  #isAsWritten(file: SnapshotFile, seen: Seen): boolean {
    if ((seen.mode & 0o7777) !== file.permissions) return false;
    if (this.#isRewritten(file)) return true;
    // To the microsecond, which is what can be set.
    return Math.abs(seen.modified - Math.max(file.mtimeMs, 0)) < 0.002;
  }

  #add(entry: SnapshotEntry): void {
    if (entry.type === "file") {
      this.#write.push(entry);
      return;
    }
    this.#make.push(entry);
    if (entry.type === "directory") this.#modes.set(entry.path, 0o700);
  }

  /** What is in folders besides the snapshot's entries. */
  #findExtras(): void {
    for (const [folder, { names, found }] of this.#folders) {
      if (names === found || names === noOthers) continue;
      for (const name of readdirSync(this.#absolute(folder))) {
        if (isEntry(this.#manifest.entries, joinPath(folder, name))) continue;
        this.#withExtras.add(folder);
        this.#extra(folder, name);
      }
    }
  }

  #extra(folder: string, name: string): void {
    const path = joinPath(folder, name);
    if (this.#protected.has(path) || path === incompleteMarker) return;
    const part = partOf(path, this.#parts);
    if (part === undefined) return;
    if (part === "models" && this.#manifest.head.models.mode !== "included") return;
    const verdict = this.#rules.judge(path, name, this.#isFolder(path), part);
    if (verdict === "counts" || verdict === "derived") this.#remove.push(path);
  }

  /** Makes a folder one that can be written to until {@link finishFolders}. */
  #open(folder: string): void {
    const mode = this.#modes.get(folder);
    if (mode === undefined || (mode & 0o700) === 0o700) return;
    chmodSync(this.#absolute(folder), mode | 0o700);
    this.#modes.set(folder, mode | 0o700);
  }

  #hash(path: string): string {
    const hash = createHash("sha256");
    const descriptor = openSync(this.#absolute(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      for (;;) {
        const count = readSync(descriptor, this.#buffer);
        if (count === 0) return hash.digest("hex");
        hash.update(this.#buffer.subarray(0, count));
      }
    } finally {
      closeSync(descriptor);
    }
  }

  /** What was seen of an entry of a folder that is there; null for nothing. */
  #seen(path: string, looks: Looks, at: number): Seen | null {
    const mode = looks[at] ?? isUnknown;
    if (mode === isAbsent) return null;
    if (mode !== isUnknown) {
      return {
        mode,
        links: looks[at + 1] ?? 0,
        size: looks[at + 2] ?? 0,
        modified: looks[at + 3] ?? 0,
        changed: looks[at + 4] ?? 0,
        names: looks[at + 5] ?? 0,
      };
    }
    // By now, folders above it have permissions to look at it.
    const found = lstatSync(this.#absolute(path), { throwIfNoEntry: false });
    if (found === undefined) return null;
    const { mtimeMs, ctimeMs } = found;
    return {
      mode: found.mode,
      links: found.nlink,
      size: found.size,
      modified: mtimeMs,
      changed: ctimeMs,
      names: unknownNames,
    };
  }

  #isFolder(path: string): boolean {
    return lstatSync(this.#absolute(path), { throwIfNoEntry: false })?.isDirectory() === true;
  }

  #absolute(path: string): string {
    return path === "" ? this.#target : `${this.#target}/${path}`;
  }
}

function nothingRecorded(entries: number): ReturnType<RestoreRecord["compare"]> {
  return { rows: new Int32Array(entries).fill(-1), withOthers: new Set() };
}

function isEntry(entries: readonly SnapshotEntry[], path: string): boolean {
  let [from, to] = [0, entries.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (compareBytes(entries[middle]?.path ?? "", path) < 0) from = middle + 1;
    else to = middle;
  }
  return entries[from]?.path === path;
}

/** True for a path whose folder is this one. */
function isIn(path: string, folder: string): boolean {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? folder === "" : slash === folder.length && path.startsWith(folder);
}
