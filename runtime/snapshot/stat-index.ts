import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { replaceFile, userCacheFolder } from "./cache-files";
import type { ContentPlace, FileContent } from "./content";
import { type Stamp, sameStamp, type TreeEntry } from "./tree-entry";

/** Grows whenever an older index would be read wrongly. */
const format = 1;
/**
 * Milliseconds. Linux stamps files with a clock that moves every 1–10 ms: what is written within one such step after a read
 * leaves the stamp as it was. So content is trusted only when it was read later than its stamp by more than that.
 */
const clockStep = 20;
/** The same for file systems that keep whole seconds, or two of them. */
const coarseClockStep = 2_000;

const billion = 1_000_000_000n;

interface Known {
  readonly stamp: Stamp;
  readonly content: FileContent;
}

/**
 * Remembers the hash of each file with what its inode looked like, so that a scan reads only what changed. It is a cache: a
 * missing or damaged file costs a full read.
 */
export class StatIndex {
  readonly #file: string;
  readonly #place: string;
  readonly #known: Map<string, Known>;
  readonly #used = new Set<string>();
  #changed = false;

  private constructor(file: string, place: string, known: Map<string, Known>) {
    this.#file = file;
    this.#place = place;
    this.#known = known;
  }

  /** What is noted of a file depends on where the environment and its parts are, so an index holds for those only. */
  static load(file: string, { root, parts }: ContentPlace): StatIndex {
    const place = hash("sha256", JSON.stringify([root, parts]));
    return new StatIndex(file, place, read(file, place) ?? new Map());
  }

  /** What the file held when it was last read, if nothing has touched it since. */
  find({ path, stamp }: TreeEntry): FileContent | undefined {
    const known = this.#known.get(path);
    if (known === undefined || !sameStamp(known.stamp, stamp)) return undefined;
    this.#used.add(path);
    return known.content;
  }

  /** Remembers content that was read, beginning at `readAt` in milliseconds since 1970, while the stamp stayed as it is. */
  note({ path, stamp }: TreeEntry, content: FileContent, readAt: number): void {
    this.#changed = true;
    const step = stamp.ctimeNs % billion === 0n ? coarseClockStep : clockStep;
    if (stamp.ctimeNs / 1_000_000n > readAt - step) {
      this.#known.delete(path);
      return;
    }
    this.#known.set(path, { stamp, content });
    this.#used.add(path);
  }

  /** Waits, some milliseconds at most, until what was just written can be read so that its stamp can be trusted. */
  async settle(entries: readonly TreeEntry[]): Promise<void> {
    let newest = 0n;
    for (const { stamp } of entries) if (stamp.ctimeNs > newest) newest = stamp.ctimeNs;
    const wait = Number(newest / 1_000_000n) + clockStep + 1 - Date.now();
    if (wait > 0 && wait <= clockStep + 1) await delay(wait);
  }

  /** Replaces the index file as a whole. Forgets files that are gone, save those that `keep` names. */
  save(keep: (path: string) => boolean): void {
    for (const path of this.#known.keys()) {
      if (this.#used.has(path) || keep(path)) continue;
      this.#known.delete(path);
      this.#changed = true;
    }
    if (!this.#changed) return;
    const lines = [...this.#known].map(([path, { stamp, content }]) =>
      JSON.stringify([
        path,
        `${stamp.size}`,
        `${stamp.mtimeNs}`,
        `${stamp.ctimeNs}`,
        `${stamp.ino}`,
        content.sha256,
        content.identity === content.sha256 ? 0 : content.identity,
        content.fact,
      ]),
    );
    const body = lines.join("\n");
    const head = JSON.stringify({ format, place: this.#place, sha256: hash("sha256", body) });
    replaceFile(this.#file, `${head}\n${body}`);
  }
}

/** Where the index of a root is unless a request says otherwise. */
export function defaultIndexFile(root: string): string {
  return join(userCacheFolder(), "scan", hash("sha256", root).slice(0, 32));
}

type Row = [string, string, string, string, string, string, string | 0, string | null];

function read(file: string, place: string): Map<string, Known> | null {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return null; // The index may be missing or unreadable: it only saves time.
  }
  const end = text.indexOf("\n");
  const body = text.slice(end + 1);
  try {
    const head = JSON.parse(text.slice(0, end)) as { format?: unknown; place?: unknown; sha256?: unknown };
    if (head.format !== format || head.place !== place || head.sha256 !== hash("sha256", body)) return null;
  } catch {
    return null; // Damaged; the hash above covers everything below.
  }
  const known = new Map<string, Known>();
  for (const line of body === "" ? [] : body.split("\n")) {
    const [path, size, mtimeNs, ctimeNs, ino, sha256, identity, fact] = JSON.parse(line) as Row;
    known.set(path, {
      stamp: { size: BigInt(size), mtimeNs: BigInt(mtimeNs), ctimeNs: BigInt(ctimeNs), ino: BigInt(ino) },
      content: { sha256, identity: identity === 0 ? sha256 : identity, fact },
    });
  }
  return known;
}
