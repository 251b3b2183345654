import { digestSize } from "./digest-table";
import { type EntryView, kindOf } from "./entry-view";
import { countingOf } from "./identity";
import { noDigest } from "./manifest-records";
import type { Part } from "./pack-writer";
import type { Packer } from "./packer";
import { mtimeOf, type TreeEntry } from "./tree-entry";

/** What a manifest says of the entries that were packed, read from where a pack keeps them. Sorted by path. */
export class PackedEntries {
  readonly #entries: readonly TreeEntry[];
  readonly #packer: Packer;
  readonly #counts: (entry: TreeEntry) => boolean;
  readonly #digests: Buffer;

  constructor(entries: readonly TreeEntry[], packer: Packer) {
    this.#entries = entries;
    this.#packer = packer;
    this.#counts = countingOf(entries);
    this.#digests = packer.contents.table.digests;
  }

  get count(): number {
    return this.#entries.length;
  }

  path(number: number): string {
    return this.#at(number).path;
  }

  at(number: number): EntryView {
    const entry = this.#at(number);
    const { path, type, mode, stamp, target } = entry;
    const kind = kindOf(type, mode, this.#counts(entry));
    if (type !== "file") {
      return { path, kind, mtime: 0n, size: 0, digests: noDigest, digestAt: 0, extra: type === "link" ? target : "" };
    }
    const { contents } = this.#packer;
    const row = contents.row(path);
    if (row === undefined) throw new Error(`${path} was not packed`);
    const extra = contents.table.ownIdentity(row) ?? "";
    const digestAt = row * digestSize;
    return { path, kind, mtime: mtimeOf(stamp), size: stamp.size, digests: this.#digests, digestAt, extra };
  }

  /** Where a file's content is; nowhere for others. */
  parts(number: number): readonly Part[] {
    const { path, type } = this.#at(number);
    return type === "file" ? this.#packer.partsOf(path) : [];
  }

  isFile(number: number): boolean {
    return this.#at(number).type === "file";
  }

  #at(number: number): TreeEntry {
    const entry = this.#entries[number];
    if (entry === undefined) throw new Error(`there is no entry ${number}`);
    return entry;
  }
}
