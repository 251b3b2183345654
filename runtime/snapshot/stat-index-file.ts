import { hash } from "node:crypto";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { hashOf, replaceFile } from "./cache-files";
import { type ContentExtras, ContentTable } from "./contents";
import { DigestTable, digestSize } from "./digest-table";
import { recordSize } from "./entry-record";
import { EntryTable } from "./entry-table";
import type { Identified } from "./summary";
import type { ModelsMode } from "./types";

/** Grows whenever an older index would be read wrongly. */
const format = 3;
/** Hex digits of a SHA-256. */
const digits = digestSize * 2;
/** Bytes that are read at a time until the first line is complete. */
const headStep = 64 * 1024;

/** What the first line of an index says: enough to recognise a tree in which nothing changed. */
export interface IndexHead {
  readonly format: number;
  /** What the index holds for. */
  readonly place: string;
  /** Of the tree and its models: what {@link EntryTable.fingerprint} gives. */
  readonly entries: string;
  readonly models: string;
  /** What the whole tree is, where all of it was read. */
  readonly identified: { readonly mode: ModelsMode; readonly as: Identified } | null;
  /** SHA-256 of what follows, and how much of what it is. */
  readonly sha256: string;
  readonly sizes: {
    readonly entries: { readonly count: number; readonly text: number };
    readonly models: { readonly count: number; readonly text: number };
    readonly contents: number;
  };
}

/** A tree as it was last seen, with what its files held. */
export interface KeptTree {
  readonly entries: EntryTable;
  readonly models: EntryTable;
  /** The contents that are known. */
  readonly table: ContentTable;
  /** Row of the contents for each entry and each model file, or -1 where the content is not known. */
  readonly rows: Int32Array;
  readonly modelRows: Int32Array;
}

/** What of it is no column. */
interface Rest {
  readonly targets: readonly string[];
  readonly extras: readonly ContentExtras[];
}

export function nothingKept(): KeptTree {
  const [entries, models] = [EntryTable.of([]), EntryTable.of([])];
  return { entries, models, table: new ContentTable(), rows: new Int32Array(), modelRows: new Int32Array() };
}

/** Replaces an index as a whole. */
export function writeIndex(
  file: string,
  place: string,
  { entries, models, table, rows, modelRows }: KeptTree,
  as: Pick<IndexHead, "entries" | "models" | "identified">,
): void {
  const digests = new DigestTable();
  const extras: ContentExtras[] = [];
  // Only the contents that are used.
  const renumbered = (row: number) => {
    if (row < 0) return -1;
    const to = digests.add(table.digest(row));
    const extra = table.extras(row);
    if (extra !== null) extras.push([to, ...extra]);
    return to;
  };
  const [contents, modelContents] = [rows.map(renumbered), modelRows.map(renumbered)];
  const rest: Rest = { targets: entries.targets, extras };
  const body = [
    entries.records,
    models.records,
    Buffer.from(contents.buffer),
    Buffer.from(modelContents.buffer),
    digests.bytes,
    entries.text,
    models.text,
    Buffer.from(JSON.stringify(rest)),
  ];
  const head = encodeHead({
    format,
    place,
    ...as,
    sha256: hashOf(body),
    sizes: {
      entries: { count: entries.length, text: entries.text.length },
      models: { count: models.length, text: models.text.length },
      contents: digests.count,
    },
  });
  replaceFile(file, [head, ...body]);
  digests.release();
}

/** The first line: the hash of the rest of it, so that it can be believed without reading any further. */
function encodeHead(head: IndexHead): Buffer {
  const text = Buffer.from(JSON.stringify(head));
  // What follows lies at a multiple of 8, so that numbers can be used where they were read to.
  const spaces = 7 - ((digits + text.length) % 8);
  return Buffer.concat([Buffer.from(hash("sha256", text)), text, Buffer.from(`${" ".repeat(spaces)}\n`)]);
}

/** Null where the index is missing, damaged or of something else: it only saves time. */
export function readIndexHead(file: string, place: string): IndexHead | null {
  try {
    const line = firstLine(file);
    const text = line.toString("utf8", digits).trimEnd();
    if (hash("sha256", text) !== line.toString("latin1", 0, digits)) return null;
    const head = JSON.parse(text) as IndexHead;
    return head.format === format && head.place === place ? head : null;
  } catch {
    return null;
  }
}

function firstLine(file: string): Buffer {
  const descriptor = openSync(file, "r");
  try {
    for (let size = headStep; ; size *= 2) {
      const bytes = Buffer.alloc(size);
      const read = readSync(descriptor, bytes, 0, size, 0);
      const end = bytes.indexOf(10);
      if (end >= 0 || read < size) return bytes.subarray(0, Math.max(end, 0));
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Null where what follows is damaged or not what the head is of: another process may have replaced the index. */
export function readIndexBody(file: string, { sha256, sizes }: IndexHead): KeptTree | null {
  let body: Buffer<ArrayBuffer>;
  try {
    const bytes = readFileSync(file);
    body = bytes.subarray(bytes.indexOf(10) + 1);
  } catch {
    return null; // It was there a moment ago, and only saves time.
  }
  if (hash("sha256", body) !== sha256) return null;
  let at = body.byteOffset;
  const take = (size: number) => {
    at += size;
    return Buffer.from(body.buffer, at - size, size);
  };
  const numbers = (count: number) => new Int32Array(body.buffer, take(count * 4).byteOffset, count);
  const { entries, models, contents } = sizes;
  const [records, modelRecords] = [take(entries.count * recordSize), take(models.count * recordSize)];
  const [rows, modelRows] = [numbers(entries.count), numbers(models.count)];
  const digests = new DigestTable(take(contents * digestSize));
  const [text, modelText] = [take(entries.text), take(models.text)];
  const { targets, extras } = JSON.parse(body.toString("utf8", at - body.byteOffset)) as Rest;
  return {
    entries: new EntryTable({ count: entries.count, records, text, targets }),
    models: new EntryTable({ count: models.count, records: modelRecords, text: modelText, targets: [] }),
    table: new ContentTable(digests, extras),
    rows,
    modelRows,
  };
}
