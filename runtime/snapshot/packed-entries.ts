import { digestSize } from "./digest-table";
import type { EntryTable } from "./entry-table";
import { type EntryView, kindOf } from "./entry-view";
import { countingOf } from "./identity";
import { noDigest } from "./manifest-records";
import type { Part } from "./pack-writer";
import type { Packer } from "./packer";

/** What a manifest says of the entries that were packed, read from where a pack keeps them. Sorted by path. */
export class PackedEntries {
  readonly #entries: EntryTable;
  readonly #packer: Packer;
  readonly #counts: (row: number) => boolean;
  readonly #digests: Buffer;

  constructor(entries: EntryTable, packer: Packer) {
    this.#entries = entries;
    this.#packer = packer;
    this.#counts = countingOf(entries);
    this.#digests = packer.contents.table.digests;
  }

  get count(): number {
    return this.#entries.length;
  }

  /** All paths, joined by NUL. */
  get text(): Buffer {
    return this.#entries.text.subarray(0, -1);
  }

  path(number: number): string {
    const path = this.#entries.paths[number];
    if (path === undefined) throw new Error(`there is no entry ${number}`);
    return path;
  }

  at(number: number): EntryView {
    const path = this.path(number);
    const entries = this.#entries;
    const type = entries.type(number);
    const kind = kindOf(type, entries.mode(number), this.#counts(number));
    if (type !== "file") {
      const extra = type === "link" ? entries.target(number) : "";
      return { path, kind, mtime: 0n, size: 0, digests: noDigest, digestAt: 0, extra };
    }
    const { contents } = this.#packer;
    const row = contents.rowOf(entries, number);
    if (row === undefined) throw new Error(`${path} was not packed`);
    const extra = contents.table.ownIdentity(row) ?? "";
    const digestAt = row * digestSize;
    const [mtime, size] = [entries.mtime(number), entries.size(number)];
    return { path, kind, mtime, size, digests: this.#digests, digestAt, extra };
  }

  /** Where a file's content is; nowhere for others. */
  parts(number: number): readonly Part[] {
    return this.isFile(number) ? this.#packer.partsOf(this.path(number)) : [];
  }

  isFile(number: number): boolean {
    return this.#entries.isFile(number);
  }
}
