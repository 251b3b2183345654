import type { FileContent } from "./content";
import { DigestTable } from "./digest-table";
import type { EntryTable } from "./entry-table";
import { PathCursor } from "./path-cursor";

/** Contents of files, a row each, kept small: few say anything besides their hash. */
export class ContentTable {
  readonly #digests: DigestTable;
  readonly #identities = new Map<number, string>();
  readonly #facts = new Map<number, string>();

  constructor(digests: DigestTable = new DigestTable(), extras: readonly ContentExtras[] = []) {
    this.#digests = digests;
    for (const [row, identity, fact] of extras) this.#note(row, identity, fact);
  }

  get count(): number {
    return this.#digests.count;
  }

  add({ sha256, identity, fact }: FileContent): number {
    const row = this.#digests.add(Buffer.from(sha256, "hex"));
    this.#note(row, identity === sha256 ? null : identity, fact);
    return row;
  }

  /** The hashes of all rows, 32 bytes each. Not to be kept while rows are added. */
  get digests(): Buffer {
    return this.#digests.bytes;
  }

  at(row: number): FileContent {
    const sha256 = this.#digests.hex(row);
    return { sha256, identity: this.#identities.get(row) ?? sha256, fact: this.#facts.get(row) ?? null };
  }

  sha256(row: number): string {
    return this.#digests.hex(row);
  }

  identity(row: number): string {
    return this.#identities.get(row) ?? this.#digests.hex(row);
  }

  /** What counts of a row where that is not its hash, or null. */
  ownIdentity(row: number): string | null {
    return this.#identities.get(row) ?? null;
  }

  fact(row: number): string | null {
    return this.#facts.get(row) ?? null;
  }

  /** The 32 bytes of the hash. Not to be kept: they move when the table grows. */
  digest(row: number): Buffer {
    return this.#digests.at(row);
  }

  /** What else than its hash is known of a row, or null where there is nothing. */
  extras(row: number): readonly [identity: string | null, fact: string | null] | null {
    const [identity, fact] = [this.#identities.get(row) ?? null, this.#facts.get(row) ?? null];
    return identity === null && fact === null ? null : [identity, fact];
  }

  #note(row: number, identity: string | null, fact: string | null): void {
    if (identity !== null) this.#identities.set(row, identity);
    if (fact !== null) this.#facts.set(row, fact);
  }
}

export type ContentExtras = readonly [row: number, identity: string | null, fact: string | null];

/** What the files of a tree hold, by path: rows of a table of contents. */
export class Contents {
  #cursor: PathCursor | null = null;
  #entries: EntryTable | null = null;
  /** By row of the tree that is followed: the content's row, or -1. */
  #rows = new Int32Array();
  /** Of files that are not in it. */
  readonly #others = new Map<string, number>();

  constructor(readonly table: ContentTable) {}

  /** Keeps what is set from now on by the rows of a tree, which takes far less than by path. What was set before is forgotten. */
  follow(entries: EntryTable): void {
    this.#cursor = new PathCursor(entries);
    this.#entries = entries;
    this.#rows = new Int32Array(entries.length).fill(-1);
    this.#others.clear();
  }

  row(path: string): number | undefined {
    const at = this.#cursor?.rowOf(path) ?? -1;
    if (at < 0) return this.#others.get(path);
    const row = this.#rows[at] ?? -1;
    return row < 0 ? undefined : row;
  }

  /** As {@link row}, of an entry of a table: quicker where that is the one that is followed. */
  rowOf(entries: EntryTable, at: number): number | undefined {
    if (entries !== this.#entries) return this.row(entries.path(at));
    const row = this.#rows[at] ?? -1;
    return row < 0 ? undefined : row;
  }

  get(path: string): FileContent | undefined {
    const row = this.row(path);
    return row === undefined ? undefined : this.table.at(row);
  }

  set(path: string, row: number): void {
    const at = this.#cursor?.rowOf(path) ?? -1;
    if (at < 0) this.#others.set(path, row);
    else this.#rows[at] = row;
  }

  /** As {@link set}, by the row of the tree that is followed. */
  setAt(at: number, row: number): void {
    this.#rows[at] = row;
  }

  delete(path: string): void {
    const at = this.#cursor?.rowOf(path) ?? -1;
    if (at < 0) this.#others.delete(path);
    else this.#rows[at] = -1;
  }
}
