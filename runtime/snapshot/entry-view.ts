import { digestSize } from "./digest-table";
import { type ManifestEntry, noDigest } from "./manifest-records";

/** All that a manifest says of an entry, save where a file's content is. */
export interface EntryView {
  readonly path: string;
  /** Type, permissions, and whether it counts; see {@link kindOf}. */
  readonly kind: number;
  /** Nanoseconds since 1970; 0 for what is no file. */
  readonly mtime: bigint;
  /** Bytes; 0 for what is no file. */
  readonly size: number;
  /** Where 32 bytes are the SHA-256 of a file's content, or zeros for others: in memory that many share, from an offset on. */
  readonly digests: Buffer;
  readonly digestAt: number;
  /** Where a link leads, a file's identity where that is not its content's hash, or nothing. */
  readonly extra: string;
}

const types = ["file", "directory", "link"] as const;
const derived = 1 << 11;

/** One number for a type, permission bits (none for links), and whether the entry counts. */
export function kindOf(type: (typeof types)[number], mode: number, counts: boolean): number {
  return (type === "link" ? 0 : mode & 0o777) | (types.indexOf(type) << 9) | (counts ? 0 : derived);
}

export function typeOf(kind: number): (typeof types)[number] {
  return types[(kind >> 9) & 3] ?? "file";
}

export function modeOf(kind: number): number {
  return kind & 0o777;
}

export function isDerived(kind: number): boolean {
  return (kind & derived) !== 0;
}

export function isSameView(a: EntryView, b: EntryView): boolean {
  return (
    a.kind === b.kind &&
    a.size === b.size &&
    a.mtime === b.mtime &&
    a.path === b.path &&
    a.extra === b.extra &&
    a.digests.compare(b.digests, b.digestAt, b.digestAt + digestSize, a.digestAt, a.digestAt + digestSize) === 0
  );
}

/** What a record says. */
export function viewOf(entry: ManifestEntry): EntryView {
  const { type, path } = entry;
  const mode = type === "link" ? 0 : Number.parseInt(entry.mode, 8);
  const kind = kindOf(type, mode, entry.counts !== false);
  if (type !== "file") {
    return {
      path,
      kind,
      mtime: 0n,
      size: 0,
      digests: noDigest,
      digestAt: 0,
      extra: type === "link" ? entry.target : "",
    };
  }
  return {
    path,
    kind,
    mtime: parseTime(entry.mtime),
    size: entry.size,
    digests: Buffer.from(entry.sha256, "hex"),
    digestAt: 0,
    extra: entry.identity === undefined || entry.identity === entry.sha256 ? "" : entry.identity,
  };
}

/** Nanoseconds of a time in seconds with nine decimals. */
function parseTime(text: string): bigint {
  return BigInt(text.replace(".", ""));
}
