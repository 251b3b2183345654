import { createHash, hash } from "node:crypto";
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, isAbsolute, join } from "node:path";
import { formatSize } from "../format";
import { explainFullDisk } from "../full-disk";
import { openStore, type StoreSettings, stateOfProcess, uniqueToken } from "../store";
import type { Watch } from "../waiting";
import { FrameWindow } from "./frame-window";
import { type Manifest, readManifest } from "./manifest-file";
import type { FileRecord, ManifestEntry } from "./manifest-records";
import { Pace } from "./pace";
import { parseReference } from "./reference";
import { type TarEntry, tarEnd, tarHeader, tarPadding } from "./tar";
import { DamagedSnapshotError, type ManifestHead } from "./types";

export interface ExportRequest extends Partial<Watch> {
  /** `<store>#sha256:<digest>`, the store an absolute path or `s3://bucket/prefix`. */
  readonly reference: string;
  /** For a store in a bucket. @default what the AWS SDK finds */
  readonly settings?: StoreSettings;
}

export interface ExportedSnapshot {
  readonly head: ManifestHead;
  readonly entries: number;
  /** Bytes of the archive. */
  readonly bytes: number;
}

/** Folders and links have no time in a snapshot. */
const noTime = "0.000000000";
/** Bytes that are given to `write` at once, about. */
const batchSize = 1024 * 1024;

/**
 * Writes a snapshot as a tar archive, as it was packed: nothing is rewritten for another location. Everything is verified before
 * it is given to `write`; an error leaves the archive in the middle of a file, so that nothing takes it for complete. The same snapshot
 * always gives the same bytes. Throws `SnapshotNotFoundError` and `DamagedSnapshotError`.
 */
export async function exportSnapshot(
  request: ExportRequest & { readonly write: (bytes: Buffer) => Promise<void> },
): Promise<ExportedSnapshot> {
  const { store: where, digest } = parseReference(request.reference);
  const store = openStore(where, request.settings, request);
  const manifest = await readManifest(store, digest);
  const frames = new FrameWindow(store, manifest, framesInOrder(manifest));
  const archive = new Archive(manifest, frames, request);
  try {
    for (const entry of manifest.entries) await archive.add(entry);
    await archive.end();
  } finally {
    await frames.close();
  }
  return { head: manifest.head, entries: manifest.entries.length, bytes: archive.bytes };
}

/** As {@link exportSnapshot}, to a file that has its name only when it is complete; one of that name is replaced then. */
export async function exportToFile(request: ExportRequest & { readonly output: string }): Promise<ExportedSnapshot> {
  const { output } = request;
  if (!isAbsolute(output)) throw new Error(`${JSON.stringify(output)} is not an absolute path`);
  removeAbandoned(output);
  const partial = `${output}.${uniqueToken()}${ending}`;
  const file = openSync(partial, "wx", 0o666);
  try {
    const write = async (bytes: Buffer) => {
      for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
    };
    const exported = await exportSnapshot({ ...request, write });
    fsyncSync(file);
    renameSync(partial, output);
    return exported;
  } catch (error) {
    rmSync(partial, { force: true });
    throw explainFullDisk(error, dirname(output), `${basename(output)} was not written`);
  } finally {
    closeSync(file);
  }
}

const ending = ".partial";

/** What exports to the same file left that were killed. */
function removeAbandoned(output: string): void {
  const start = `${basename(output)}.`;
  for (const name of readdirSync(dirname(output))) {
    if (!name.startsWith(start) || !name.endsWith(ending)) continue;
    const token = name.slice(start.length, -ending.length);
    if (stateOfProcess(token) === "dead") rmSync(join(dirname(output), name), { force: true });
  }
}

class Archive {
  bytes = 0;
  readonly #frames: FrameWindow;
  readonly #write: (bytes: Buffer) => Promise<void>;
  readonly #pace: Pace;
  readonly #total: number;
  #waiting: Buffer[] = [];
  #size = 0;

  constructor(
    { head }: Manifest,
    frames: FrameWindow,
    request: Partial<Watch> & { readonly write: (bytes: Buffer) => Promise<void> },
  ) {
    this.#frames = frames;
    this.#write = request.write;
    this.#pace = new Pace(request);
    this.#total = head.summary.bytes;
  }

  async add(entry: ManifestEntry): Promise<void> {
    await this.#give(tarHeader(tarEntry(entry)));
    if (entry.type !== "file" || entry.size === 0) return;
    // The header is out: whatever fails from here on leaves an archive that ends within a file.
    try {
      await this.#content(entry);
    } catch (error) {
      await this.#flush();
      throw error;
    }
    await this.#give(tarPadding(entry.size));
  }

  async end(): Promise<void> {
    await this.#give(tarEnd);
    await this.#flush();
  }

  async #content(file: FileRecord): Promise<void> {
    const describe = () => `exported ${formatSize(this.bytes)} of ${formatSize(this.#total)}`;
    const whole = file.parts.length > 1 ? createHash("sha256") : null;
    for (const [position, [frame, offset, length]] of file.parts.entries()) {
      this.#pace.check(describe);
      if (this.#pace.due) await this.#pace.rest(describe);
      const piece = (await this.#frames.take(frame)).subarray(offset, offset + length);
      whole?.update(piece);
      const isLast = position === file.parts.length - 1;
      // Without the last piece the file is not complete, nor is the archive.
      if (isLast && (whole?.digest("hex") ?? hash("sha256", piece)) !== file.sha256) {
        throw new DamagedSnapshotError(`${file.path}: what the manifest's parts give is not the content that it says`);
      }
      await this.#give(piece);
    }
  }

  async #give(bytes: Buffer): Promise<void> {
    if (bytes.length === 0) return;
    this.#waiting.push(bytes);
    this.#size += bytes.length;
    this.bytes += bytes.length;
    if (this.#size >= batchSize) await this.#flush();
  }

  async #flush(): Promise<void> {
    const pieces = this.#waiting;
    this.#waiting = [];
    this.#size = 0;
    if (pieces.length > 0) await this.#write(Buffer.concat(pieces));
  }
}

function tarEntry(entry: ManifestEntry): TarEntry {
  const { path, type } = entry;
  if (type === "link") return { type, path, mode: 0o777, mtime: noTime, size: 0, target: entry.target };
  const mode = Number.parseInt(entry.mode, 8);
  if (type === "directory") return { type, path, mode, mtime: noTime, size: 0, target: "" };
  return { type, path, mode, mtime: entry.mtime, size: entry.size, target: "" };
}

function* framesInOrder({ entries }: Manifest): Generator<number> {
  for (const entry of entries) if (entry.type === "file") for (const [frame] of entry.parts) yield frame;
}
