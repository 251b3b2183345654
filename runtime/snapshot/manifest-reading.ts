import type { z } from "zod";
import type { ObjectStore } from "../store";
import { nameOfManifest } from "./manifest-keys";
import { fetchManifest, piecesOf } from "./manifest-lines";
import type { PackRecord, StoredRecord } from "./manifest-records";
import { isRecord } from "./record-check";
import { DamagedSnapshotError, type ManifestHead } from "./types";

const newline = 10;

type Schemas = typeof import("./manifest-schemas.js");

/** With an ending, since Node.js itself resolves it. */
const loadSchemas = (): Promise<Schemas> => import("./manifest-schemas.js");

/** The order in which records come. */
const ranks: Readonly<Record<StoredRecord["type"], number>> = {
  base: 1,
  pack: 2,
  frame: 3,
  directory: 4,
  file: 4,
  link: 4,
  removed: 4,
};

/** What a manifest names in the store. */
export interface NamedInStore {
  /** Digest of the manifest from which this one says only what differs, or null. It needs what that one needs, too. */
  readonly base: string | null;
  readonly packs: readonly PackRecord[];
}

/** The records of one manifest as they stand in it. The digest of the whole, the form of each record and their order are verified. */
export class ManifestReading {
  head: ManifestHead | null = null;
  /** The head as it stands there. */
  headText = "";
  /** Number of the record that was read last, from 1 on. */
  line = 0;
  readonly name: string;
  readonly #store: ObjectStore;
  readonly #digest: string;
  #schemas: Schemas | null = null;
  #rank = 0;
  /** Kept, since it may be read again. */
  #bytes: Buffer | null = null;

  constructor(store: ObjectStore, digest: string) {
    this.#store = store;
    this.#digest = digest;
    this.name = nameOfManifest(store, digest);
  }

  /** Reads the head and no more. */
  async readHead(): Promise<ManifestHead> {
    await this.each(null);
    if (this.head === null) throw new DamagedSnapshotError(`${this.name} is empty`);
    return this.head;
  }

  /** Reads what it names in the store and no more. */
  async readNeeds(): Promise<NamedInStore> {
    let base: string | null = null;
    const packs: PackRecord[] = [];
    await this.each((record) => {
      if (record.type === "base") base = record.sha256;
      else if (record.type === "pack") packs.push(record);
      else return false;
      return true;
    });
    return { base, packs };
  }

  /**
   * Calls back with each record after the head, until it answers false. No more is decompressed than is needed. `scan` is asked first about
   * each line, from where it begins: it returns where the next one begins if it has taken it as an entry, or -1.
   */
  async each(
    take: ((record: StoredRecord) => boolean) | null,
    scan: (bytes: Buffer, from: number) => number = () => -1,
  ): Promise<void> {
    this.#bytes ??= await fetchManifest(this.#store, this.#digest);
    const bytes = this.#bytes;
    const schemas = await loadSchemas();
    this.#schemas = schemas;
    [this.line, this.#rank] = [0, 0];
    for await (const piece of piecesOf(bytes, this.name)) {
      for (let next = 0; next < piece.length; ) {
        this.line += 1;
        const scanned = this.line === 1 ? -1 : scan(piece, next);
        if (scanned >= 0) {
          this.#rank = ranks.file;
          next = scanned;
          continue;
        }
        const end = piece.indexOf(newline, next);
        const line = piece.toString("utf8", next, end);
        next = end + 1;
        if (this.line === 1) {
          this.headText = line;
          this.head = this.#parse(line, schemas.headSchema);
          if (take === null) return;
        } else if (take?.(this.#record(line, schemas)) === false) return;
      }
    }
    if (this.line === 0) throw new DamagedSnapshotError(`${this.name} is empty`);
  }

  wrong(what: string, line = this.line): DamagedSnapshotError {
    return new DamagedSnapshotError(`${this.name}: record ${line} ${what}`);
  }

  #record(line: string, schemas: Schemas): StoredRecord {
    const record = this.#parse(line, schemas.recordSchema, isRecord) as StoredRecord;
    const rank = ranks[record.type];
    // Whoever needs the packs only stops where they end.
    if (rank < this.#rank || (rank === 1 && this.line !== 2)) {
      throw this.wrong(`is of the type ${record.type}, which comes earlier in a manifest`);
    }
    this.#rank = rank;
    return record;
  }

  #parse<T>(line: string, schema: z.ZodType<T>, isPlainly: (value: unknown) => boolean = () => false): T {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw new DamagedSnapshotError(`${this.name}: record ${this.line} is not JSON`, { cause });
    }
    if (isPlainly(value)) return value as T;
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const path =
      typeof value === "object" && value !== null && "path" in value ? ` (${JSON.stringify(value.path)})` : "";
    throw new DamagedSnapshotError(
      `${this.name}: record ${this.line}${path} is not valid: ${this.#schemas?.explain(parsed.error)}`,
    );
  }
}
