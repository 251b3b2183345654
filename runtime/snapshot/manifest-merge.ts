import type { ManifestReading } from "./manifest-reading";
import {
  type FileRecord,
  type FrameRecord,
  isSafePath,
  type ManifestEntry,
  type PackRecord,
  type RemovedRecord,
  type StoredRecord,
} from "./manifest-records";
import { ScannedEntry } from "./manifest-scan";
import { ManifestTable, type SnapshotEntry } from "./manifest-table";
import { compareBytes, parentOf } from "./paths";
import { DamagedSnapshotError, type ManifestHead } from "./types";

interface Verified {
  readonly head: ManifestHead;
  readonly packs: readonly PackRecord[];
  readonly frames: readonly FrameRecord[];
  readonly entries: readonly SnapshotEntry[];
}

/** An entry of a manifest with a base, or what takes one away, and its number there. */
interface Change {
  readonly record: ManifestEntry | RemovedRecord;
  readonly line: number;
}

/** After an entry that was not scanned. */
const unknownSlash = -2;

/**
 * Puts a manifest together from the records that are read, its own first and then those of its base where it has one, and refuses
 * what cannot be a manifest.
 */
export class ManifestBuilder {
  /** Digest of the base, once its record was added. */
  base: string | null = null;
  readonly #own: ManifestReading;
  readonly #most: number;
  /** Records and parts that are in memory. */
  #count = 0;
  #packs: PackRecord[] = [];
  #frames: FrameRecord[] = [];
  #table: ManifestTable | null = null;
  readonly #scanned = new ScannedEntry();
  readonly #folders = new Set([""]);
  /** Folder of the entry before, which is most often that of the next. */
  #folder = "";
  /** Where the path of the last entry begins in the text of the table, and in that path its last slash: -1 for none, or {@link unknownSlash}. */
  #last = 0;
  #slash = unknownSlash;
  #bytes = 0;
  readonly #changes: Change[] = [];
  #nextChange = 0;
  /** What a manifest with a base has itself, until all packs and frames of the base are known. */
  #ownPacks: readonly PackRecord[] = [];
  #ownFrames: readonly FrameRecord[] = [];
  #ownFramesLine = 0;
  #baseIsBegun = false;
  /** The path of the base's last entry where a change has removed it; otherwise it is the last one in the table. */
  #removed: Buffer | null = null;
  /** The path of the next change, where the base is read. */
  #nextPath: Buffer | null = null;

  /** `most`: records and parts that may be kept in memory. */
  constructor(own: ManifestReading, most: number) {
    this.#own = own;
    this.#most = most;
  }

  /** Adds a record of the manifest itself. */
  add(record: StoredRecord): true {
    const own = this.#own;
    this.#countIn(record, own);
    if (record.type === "base") this.base = record.sha256;
    else if (record.type === "pack") this.#packs.push(record);
    else if (record.type === "frame") {
      if (this.#frames.length === 0) this.#ownFramesLine = own.line;
      // It may be in a pack of the base, which is not known yet.
      if (this.base === null) requireWithinPack(record, this.#packs, own, own.line);
      this.#frames.push(record);
    } else if (this.base !== null) {
      requireSafe(record.path, own);
      requireAfter(record.path, this.#changes.at(-1)?.record.path, own);
      this.#changes.push({ record, line: own.line });
    } else {
      requireEntry(record, own);
      requireAfter(record.path, this.#lastPath(), own);
      this.#addEntry(record, own, own.line);
    }
    return true;
  }

  /**
   * Adds an entry of the manifest itself without making a record of it, from where its line begins. Returns where the next one begins, or
   * -1 where its record is to be added instead, which explains what is wrong as well.
   */
  readonly scan = (bytes: Buffer, from: number): number => (this.base === null ? this.#scan(bytes, from) : -1);

  /** The same for an entry of the base. */
  readonly scanOfBase = (bytes: Buffer, from: number): number => (this.#baseIsBegun ? this.#scan(bytes, from) : -1);

  /** Before the first record of the base, all of the manifest itself having been added. */
  startBase(): void {
    [this.#ownPacks, this.#ownFrames] = [this.#packs, this.#frames];
    [this.#packs, this.#frames] = [[], []];
    this.#turnTo(0);
  }

  /** Adds a record of the base. */
  addOfBase(record: StoredRecord, base: ManifestReading): true {
    this.#countIn(record, base);
    if (record.type === "base") {
      throw base.wrong(`names a base, but the manifest is the base of ${this.#own.name}`);
    }
    if (record.type === "pack") this.#packs.push(record);
    else if (record.type === "frame") {
      requireWithinPack(record, this.#packs, base, base.line);
      this.#frames.push(record);
    } else {
      requireEntry(record, base);
      if (this.#baseIsBegun) requireAfter(record.path, this.#lastPath(), base);
      else this.#addOwnFrames();
      this.#baseIsBegun = true;
      this.#removed = null;
      if (!this.#change(record.path)) this.#addEntry(record, base, base.line);
    }
    return true;
  }

  /** After the last record of the base. */
  endBase(): void {
    if (!this.#baseIsBegun) this.#addOwnFrames();
    for (const change of this.#changes.slice(this.#nextChange)) this.#addChange(change);
    this.#renumber();
  }

  build(): Verified {
    const { head, name } = this.#own;
    if (head === null) throw new DamagedSnapshotError(`${name} is empty`);
    const { files, bytes } = head.summary;
    const count = this.#table?.count ?? 0;
    if (files !== count || bytes !== this.#bytes) {
      throw new DamagedSnapshotError(
        `${name}: its summary says ${files} entries and ${bytes} bytes, but it has ${count} and ${this.#bytes}`,
      );
    }
    return { head, packs: this.#packs, frames: this.#frames, entries: this.#table?.entries() ?? [] };
  }

  /** The columns, with room for as many entries as the head says. */
  get #entries(): ManifestTable {
    this.#table ??= new ManifestTable(this.#own.head?.summary.files ?? 0);
    return this.#table;
  }

  #lastPath(): string | undefined {
    if (this.#removed !== null) return this.#removed.toString("utf8");
    const { count, text, textBytes } = this.#entries;
    return count === 0 ? undefined : text.toString("utf8", this.#last, textBytes - 1);
  }

  #scan(bytes: Buffer, from: number): number {
    const [entry, table] = [this.#scanned, this.#entries];
    const end = entry.read(bytes, from);
    if (end < 0) return -1;
    const records = entry.isFile ? 1 + entry.partNumbers / 3 : 1;
    if (this.#count + records >= this.#most || !this.#follows(entry) || !this.#fits(entry)) return -1;
    this.#count += records;
    this.#last = table.textBytes;
    this.#slash = entry.slash < 0 ? -1 : entry.slash - entry.pathFrom;
    this.#removed = null;
    if (entry.isFile) this.#bytes += entry.size;
    else this.#folders.add(bytes.toString("latin1", entry.pathFrom, entry.pathTo));
    table.addScanned(entry);
    return end;
  }

  /** Whether an entry comes after the one before and before the next change, and in a folder that is there. */
  #follows({ bytes, pathFrom, pathTo, slash }: ScannedEntry): boolean {
    const { count, text, textBytes } = this.#entries;
    const before = this.#removed ?? text;
    const start = this.#removed === null ? this.#last : 0;
    const length = this.#removed?.length ?? (count === 0 ? 0 : textBytes - 1 - this.#last);
    const size = pathTo - pathFrom;
    const shorter = Math.min(length, size);
    let common = 0;
    while (common < shorter && bytes[pathFrom + common] === before[start + common]) common += 1;
    if (common === size) return false;
    if (common < length && (bytes[pathFrom + common] ?? 0) < (before[start + common] ?? 0)) return false;
    if (this.#nextPath !== null && bytes.compare(this.#nextPath, 0, this.#nextPath.length, pathFrom, pathTo) >= 0) {
      return false;
    }
    const own = slash - pathFrom;
    if (slash < 0 || (own === this.#slash && common > own)) return true;
    return this.#folders.has(bytes.toString("latin1", pathFrom, slash));
  }

  /** Whether the content of a file is in frames that are there. */
  #fits({ isFile, parts, partNumbers, size }: ScannedEntry): boolean {
    if (!isFile) return true;
    let sum = 0;
    for (let at = 0; at < partNumbers; at += 3) {
      const [frame, length] = [this.#frames[parts[at] ?? -1], parts[at + 2] ?? 0];
      if (frame === undefined || length === 0 || (parts[at + 1] ?? 0) + length > frame.size) return false;
      sum += length;
    }
    return sum === size;
  }

  #countIn(record: StoredRecord, reading: ManifestReading): void {
    this.#count += record.type === "file" ? 1 + record.parts.length : 1;
    // One more is the head.
    if (this.#count >= this.#most) throw reading.wrong(`is one of more than ${this.#most}, the limit`);
  }

  /** Numbered after those of the base. */
  #addOwnFrames(): void {
    this.#packs.push(...this.#ownPacks);
    for (const [position, frame] of this.#ownFrames.entries()) {
      requireWithinPack(frame, this.#packs, this.#own, this.#ownFramesLine + position);
      this.#frames.push(frame);
    }
  }

  /** Adds what changes up to a path of the base; true when that entry is one of it. */
  #change(path: string): boolean {
    for (;;) {
      const change = this.#changes[this.#nextChange];
      if (change === undefined) return false;
      const same = change.record.path === path;
      if (!same && compareBytes(change.record.path, path) > 0) return false;
      this.#turnTo(this.#nextChange + 1);
      if (same && change.record.type === "removed") this.#removed = Buffer.from(path);
      if (!same || change.record.type !== "removed") this.#addChange(change);
      if (same) return true;
    }
  }

  #turnTo(change: number): void {
    this.#nextChange = change;
    const next = this.#changes[change];
    this.#nextPath = next === undefined ? null : Buffer.from(next.record.path);
  }

  #addChange({ record, line }: Change): void {
    if (record.type !== "removed") this.#addEntry(record, this.#own, line);
    else throw this.#own.wrong(`removes ${JSON.stringify(record.path)}, which its base does not have`, line);
  }

  #addEntry(entry: ManifestEntry, reading: ManifestReading, line: number): void {
    const { path } = entry;
    // So nothing is ever written through a link, or in place of a file.
    const folder = parentOf(path);
    if (folder !== this.#folder && !this.#folders.has(folder)) {
      throw reading.wrong(`has the path ${JSON.stringify(path)}, but no such folder`, line);
    }
    this.#folder = folder;
    if (entry.type === "directory") this.#folders.add(path);
    else if (entry.type === "file") this.#checkParts(entry, reading, line);
    else if (entry.target.includes("\0")) {
      throw reading.wrong(`(${JSON.stringify(path)}) has a link's target with a NUL`, line);
    }
    this.#last = this.#entries.textBytes;
    this.#slash = unknownSlash;
    this.#entries.add(entry);
  }

  #checkParts({ path, parts, size }: FileRecord, reading: ManifestReading, line: number): void {
    let sum = 0;
    for (const [number, offset, length] of parts) {
      const frame = this.#frames[number];
      if (frame === undefined) {
        throw reading.wrong(`(${JSON.stringify(path)}) names frame ${number}, which is not listed before it`, line);
      }
      if (length === 0 || offset + length > frame.size) {
        throw reading.wrong(`(${JSON.stringify(path)}) has a part that lies outside of its frame`, line);
      }
      sum += length;
    }
    if (sum !== size) {
      throw reading.wrong(`(${JSON.stringify(path)}) has ${size} bytes, but parts of ${sum}`, line);
    }
    this.#bytes += size;
  }

  /** Leaves the packs and frames that entries use, in the order that those of a manifest without a base have. */
  #renumber(): void {
    const [packs, frames] = [this.#packs, this.#frames];
    const used = new Uint8Array(frames.length);
    this.#entries.eachFrame((number) => {
      used[number] = 1;
    });
    const packOf = (number: number) => packs[frames[number]?.pack ?? -1];
    const order = [...frames.keys()].filter((number) => used[number] === 1);
    order.sort((a, b) => {
      const [one, other] = [packOf(a)?.sha256 ?? "", packOf(b)?.sha256 ?? ""];
      return one < other ? -1 : one > other ? 1 : (frames[a]?.offset ?? 0) - (frames[b]?.offset ?? 0);
    });
    const numbers = new Uint32Array(frames.length);
    const packNumbers = new Map<string, number>();
    this.#packs = [];
    this.#frames = [];
    for (const old of order) {
      const [frame, pack] = [frames[old], packOf(old)];
      if (frame === undefined || pack === undefined) continue;
      // One that both name with different sizes is two.
      const key = `${pack.sha256}:${pack.size}`;
      let number = packNumbers.get(key);
      if (number === undefined) {
        number = this.#packs.push(pack) - 1;
        packNumbers.set(key, number);
      }
      numbers[old] = this.#frames.push({ ...frame, pack: number }) - 1;
    }
    this.#entries.renumber(numbers);
  }
}

/** Throws for what only a manifest with a base has, and for a path that leads elsewhere. */
function requireEntry(
  record: ManifestEntry | RemovedRecord,
  reading: ManifestReading,
): asserts record is ManifestEntry {
  if (record.type === "removed") {
    throw reading.wrong(`removes ${JSON.stringify(record.path)}, but the manifest has no base`);
  }
  requireSafe(record.path, reading);
}

function requireSafe(path: string, reading: ManifestReading): void {
  if (isSafePath(path)) return;
  throw reading.wrong(`has the path ${JSON.stringify(path)}, which leads out of the snapshot`);
}

function requireAfter(path: string, before: string | undefined, reading: ManifestReading): void {
  if (before === undefined || compareBytes(before, path) < 0) return;
  throw reading.wrong(`has the path ${JSON.stringify(path)}, which is not after ${JSON.stringify(before)}`);
}

function requireWithinPack(
  frame: FrameRecord,
  packs: readonly PackRecord[],
  reading: ManifestReading,
  line: number,
): void {
  const pack = packs[frame.pack];
  if (pack === undefined) throw reading.wrong(`names pack ${frame.pack}, which is not listed before it`, line);
  if (frame.offset + frame.length > pack.size) throw reading.wrong("lies outside of its pack", line);
}
