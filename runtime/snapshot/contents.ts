import type { FileContent } from "./content";
import { DigestTable } from "./digest-table";

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

/** What the files of a tree hold, by path. */
export class Contents {
  readonly #rows = new Map<string, number>();

  constructor(readonly table: ContentTable) {}

  row(path: string): number | undefined {
    return this.#rows.get(path);
  }

  get(path: string): FileContent | undefined {
    const row = this.#rows.get(path);
    return row === undefined ? undefined : this.table.at(row);
  }

  set(path: string, row: number): void {
    this.#rows.set(path, row);
  }

  delete(path: string): void {
    this.#rows.delete(path);
  }
}
