import { formatDuration } from "../format";
import { InvalidInputError } from "../problems";
import { compareBytes } from "./paths";
import { parseReference } from "./reference";

/** Which snapshots of a store stay. One that either rule keeps, stays. */
export interface Retention {
  /** The newest so many, by the time at which the store got them. 1 or more. */
  readonly newest?: number;
  /** Milliseconds: those that the store has had for less. More than 0. */
  readonly youngerThan?: number;
}

/** A snapshot that stays whatever its age. */
export interface Protection {
  /** A reference, or the digest of a manifest. Of a reference only the digest counts: a store may have several names. */
  readonly snapshot: string;
  /** Why, for a person to read: for example `release r3-x7k2q of the service studio`. */
  readonly reason: string;
}

/** A manifest in a store, not read yet. */
export interface StoredManifest {
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly storedAt: Date;
}

export interface Judged extends StoredManifest {
  /** Why it stays; empty when nothing keeps it. */
  readonly reasons: readonly string[];
}

/** Throws an `InvalidInputError` where the rules keep nothing by themselves, or are none. */
export function requireRetention({ newest, youngerThan }: Retention): void {
  const problems = [];
  if (newest === undefined && youngerThan === undefined) {
    problems.push({
      path: "keep",
      reason: "says nothing; give `newest`, `youngerThan`, or both: without one, every snapshot would go",
    });
  }
  if (newest !== undefined && !(Number.isInteger(newest) && newest >= 1)) {
    problems.push({ path: "keep.newest", reason: `${newest} is not a number of snapshots; give 1 or more` });
  }
  if (youngerThan !== undefined && !(youngerThan > 0)) {
    problems.push({ path: "keep.youngerThan", reason: `${youngerThan} is not an age; give more than 0` });
  }
  if (problems.length > 0) throw new InvalidInputError(problems);
}

/** What stays of some manifests and why, the newest first. `now` is the store's time. */
export function judge(
  manifests: readonly StoredManifest[],
  { newest, youngerThan }: Retention,
  protections: readonly Protection[],
  now: Date,
): readonly Judged[] {
  const protectedBy = new Map<string, string[]>();
  for (const { snapshot, reason } of protections) {
    const digest = digestOf(snapshot);
    protectedBy.set(digest, [...new Set([...(protectedBy.get(digest) ?? []), reason])]);
  }
  return [...manifests]
    .sort((a, b) => b.storedAt.getTime() - a.storedAt.getTime() || compareBytes(a.digest, b.digest))
    .map((manifest, position) => {
      const age = now.getTime() - manifest.storedAt.getTime();
      return {
        ...manifest,
        reasons: [
          ...(newest !== undefined && position < newest ? [`one of the newest ${newest}`] : []),
          ...(youngerThan !== undefined && age < youngerThan ? [`younger than ${formatDuration(youngerThan)}`] : []),
          ...(protectedBy.get(manifest.digest) ?? []),
        ],
      };
    });
}

/** The digest that a protection names. Throws an `InvalidInputError` for what is neither a digest nor a reference. */
export function digestOf(snapshot: string): string {
  if (/^[0-9a-f]{64}$/.test(snapshot)) return snapshot;
  try {
    return parseReference(snapshot).digest;
  } catch (error) {
    throw new InvalidInputError([{ path: "protect", reason: (error as Error).message }]);
  }
}
