import { createHash } from "node:crypto";
import {
  type BigIntStats,
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
import type { ObjectStore } from "../store";
import type { Watch } from "../waiting";
import { chunkSize } from "./content";
import type { ThreadChoice } from "./frame-writers";
import { incompleteMarker, incompleteReason, markIncomplete, removeMark, requireOwnMark } from "./incomplete";
import { isKnownPlace, largestKnownPlace, relocateTarget } from "./known-places";
import type { Manifest } from "./manifest-file";
import type { FileRecord, ManifestEntry } from "./manifest-records";
import { formatCount, Pace } from "./pace";
import { type Parts, partNames, partOf, partsOf } from "./parts";
import { foldersAbove, joinPath, parentOf } from "./paths";
import { relocateTree } from "./relocate-tree";
import { removeTree } from "./remove-tree";
import { RestoreRecord, recordContents, writeRecord } from "./restore-record";
import { TravelRules } from "./travel-rules";
import { timeOf } from "./write-plan";
import { writeFiles } from "./write-tree";

export interface RestoreOver {
  readonly manifest: Manifest;
  readonly store: ObjectStore;
  readonly reference: string;
  /** Absolute path of an earlier restore that nothing uses now. */
  readonly target: string;
  readonly location: string;
}

/**
 * Makes an earlier restore into that of another snapshot, and writes only what differs. Meanwhile, and after a kill until it is
 * run again, the folder is marked as incomplete. What travels but is not in the snapshot is removed, a folder with all it holds;
 * what never travels stays. Returns remarks on what was rewritten for the location.
 */
export async function restoreOver(
  request: RestoreOver,
  watch: Partial<Watch> & ThreadChoice,
): Promise<readonly string[]> {
  const { manifest, target, location } = request;
  const record = RestoreRecord.read(target);
  if (record === null && incompleteReason(target) === null) {
    throw new Error(
      `${target} is not known to be an earlier restore, so that nothing in it is removed or replaced; give one, or a folder that does not exist yet`,
    );
  }
  if (manifest.entries.some(({ path }) => path === incompleteMarker)) {
    throw new Error(`the snapshot holds ${incompleteMarker}, which marks restores that are under way`);
  }
  const token = markIncomplete(target, request.reference);
  const comparison = new Comparison(request, record, new Pace(watch));
  await comparison.run();
  requireOwnMark(target, token);
  const written = await comparison.apply(watch);
  const remarks = relocateTree({ ...manifest, entries: written }, target, location);
  comparison.finishFolders();
  requireOwnMark(target, token);
  writeRecord(target, { target, location, contents: recordContents(manifest.entries) });
  removeMark(target);
  return remarks;
}

/** What is to be done to a folder, found out before anything of it is touched. */
class Comparison {
  readonly #manifest: Manifest;
  readonly #store: ObjectStore;
  readonly #target: string;
  readonly #location: string;
  readonly #parts: Parts;
  readonly #record: RestoreRecord | null;
  readonly #pace: Pace;
  readonly #rules: TravelRules;
  readonly #children = new Map<string, ManifestEntry[]>();
  /** Never removed: the parts themselves and what they lie in. */
  readonly #protected: ReadonlySet<string>;
  /** In the way of what comes, or not in the snapshot. */
  readonly #remove: string[] = [];
  readonly #make: ManifestEntry[] = [];
  readonly #write: FileRecord[] = [];
  /** Of unchanged content, but with another time or other permissions. */
  readonly #adjust: FileRecord[] = [];
  readonly #modes = new Map<string, number>();
  readonly #buffer = Buffer.allocUnsafeSlow(chunkSize);
  #looked = 0;

  constructor({ manifest, store, target, location }: RestoreOver, record: RestoreRecord | null, pace: Pace) {
    this.#manifest = manifest;
    this.#store = store;
    this.#target = target;
    this.#location = location;
    this.#record = record;
    this.#pace = pace;
    this.#parts = partsOf(manifest.head.layout);
    // With a person's own rules, as they stand there now: what they leave out is not the snapshot's.
    this.#rules = TravelRules.of(target, this.#parts);
    const roots = partNames.map((part) => this.#parts[part]);
    this.#protected = new Set(roots.flatMap((root) => [root, ...foldersAbove(root)]));
    for (const entry of manifest.entries) {
      const siblings = this.#children.get(parentOf(entry.path));
      if (siblings === undefined) this.#children.set(parentOf(entry.path), [entry]);
      else siblings.push(entry);
    }
  }

  async run(): Promise<void> {
    const folders = [""];
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      const wanted = this.#children.get(folder) ?? [];
      const there = new Set(this.#names(folder));
      for (const entry of wanted) {
        if (this.#pace.due) await this.#pace.rest(() => `compared ${formatCount(this.#looked, "files")}`);
        const name = folder === "" ? entry.path : entry.path.slice(folder.length + 1);
        this.#looked += 1;
        const found = there.delete(name) ? this.#look(entry.path) : undefined;
        if (found === undefined) this.#add(entry);
        else if (this.#compare(entry, found)) folders.push(entry.path);
      }
      for (const name of there) this.#extra(folder, name);
    }
  }

  /** Does it. Returns the entries that were written. */
  async apply(watch: Partial<Watch> & ThreadChoice): Promise<readonly ManifestEntry[]> {
    const changed = [...this.#remove, ...this.#make.map(({ path }) => path), ...this.#write.map(({ path }) => path)];
    for (const folder of new Set(changed.map(parentOf))) this.#open(folder);
    for (const path of this.#remove) await removeTree(this.#absolute(path));
    for (const entry of this.#make) {
      if (entry.type === "directory") mkdirSync(this.#absolute(entry.path), 0o700);
    }
    for (const file of this.#write) rmSync(this.#absolute(file.path), { force: true });
    for (const file of this.#adjust) {
      chmodSync(this.#absolute(file.path), Number.parseInt(file.mode, 8));
      const time = timeOf(file.mtime);
      utimesSync(this.#absolute(file.path), time, time);
    }
    mkdirSync(this.#absolute(this.#parts.models), { recursive: true });
    await writeFiles(this.#manifest, this.#store, this.#target, this.#write, watch);
    const links = this.#make.filter((entry) => entry.type === "link");
    for (const { path, target } of links) symlinkSync(target, this.#absolute(path));
    return [...this.#write, ...links];
  }

  /** Gives folders the permissions of the snapshot, the innermost first. */
  finishFolders(): void {
    for (const entry of this.#manifest.entries.toReversed()) {
      if (entry.type !== "directory") continue;
      const mode = Number.parseInt(entry.mode, 8);
      if (this.#modes.get(entry.path) !== mode) chmodSync(this.#absolute(entry.path), mode);
    }
  }

  /** True where it is a folder to go into. */
  #compare(entry: ManifestEntry, found: BigIntStats): boolean {
    const { path } = entry;
    if (entry.type === "directory") {
      if (found.isDirectory()) {
        this.#modes.set(path, Number(found.mode) & 0o7777);
        // What may not be read cannot be compared.
        if ((Number(found.mode) & 0o500) !== 0o500) this.#open(path);
        return true;
      }
    } else if (entry.type === "link") {
      const target = relocateTarget(entry.target, this.#manifest.head.root, this.#location) ?? entry.target;
      if (found.isSymbolicLink() && readlinkSync(this.#absolute(path)) === target) return false;
    } else if (found.isFile()) {
      this.#compareFile(entry, found);
      return false;
    }
    this.#remove.push(path);
    this.#add(entry);
    return false;
  }

  #compareFile(file: FileRecord, found: BigIntStats): void {
    if (!this.#hasContent(file, found)) this.#write.push(file);
    else if (!this.#isAsWritten(file, found)) {
      // Its inode may belong to others as well.
      if (found.nlink > 1n) this.#write.push(file);
      else this.#adjust.push(file);
    }
  }

  #hasContent(file: FileRecord, found: BigIntStats): boolean {
    if (this.#isRewritten(file)) {
      // What it holds here is not what the snapshot holds, and byte code of it was left out.
      const same = this.#record?.location === this.#location && !file.path.endsWith(".py");
      return same && this.#record?.content(file.path, found.ctimeNs) === file.sha256;
    }
    if (found.size !== BigInt(file.size)) return false;
    const known = this.#record?.content(file.path, found.ctimeNs) ?? this.#hash(file.path);
    return known === file.sha256;
  }

  /** True where a restore elsewhere may write another content than the snapshot's. */
  #isRewritten({ path, size }: FileRecord): boolean {
    const { root } = this.#manifest.head;
    return root !== this.#location && size <= largestKnownPlace && isKnownPlace(path, this.#parts);
  }

  #isAsWritten(file: FileRecord, found: BigIntStats): boolean {
    if ((Number(found.mode) & 0o7777) !== Number.parseInt(file.mode, 8)) return false;
    if (this.#isRewritten(file)) return true;
    // To the microsecond, which is what can be set.
    return Math.abs(Number(found.mtimeNs - nanoseconds(file.mtime))) < 2_000;
  }

  #add(entry: ManifestEntry): void {
    if (entry.type === "file") {
      this.#write.push(entry);
      return;
    }
    this.#make.push(entry);
    if (entry.type !== "directory") return;
    this.#modes.set(entry.path, 0o700);
    for (const child of this.#children.get(entry.path) ?? []) this.#add(child);
  }

  #extra(folder: string, name: string): void {
    const path = joinPath(folder, name);
    if (this.#protected.has(path) || path === incompleteMarker) return;
    const part = partOf(path, this.#parts);
    if (part === undefined) return;
    if (part === "models" && this.#manifest.head.models.mode !== "included") return;
    const verdict = this.#rules.judge(path, name, this.#look(path)?.isDirectory() ?? false, part);
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

  #look(path: string): BigIntStats | undefined {
    return lstatSync(this.#absolute(path), { bigint: true, throwIfNoEntry: false });
  }

  #names(folder: string): readonly string[] {
    return readdirSync(this.#absolute(folder));
  }

  #absolute(path: string): string {
    return path === "" ? this.#target : `${this.#target}/${path}`;
  }
}

function nanoseconds(mtime: string): bigint {
  return mtime.startsWith("-") ? 0n : BigInt(mtime.replace(".", ""));
}
