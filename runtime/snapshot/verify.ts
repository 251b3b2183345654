import { createHash, hash } from "node:crypto";
import { formatSize } from "../format";
import { ObjectNotFoundError, type ObjectStore, openStore } from "../store";
import { readFrames } from "./frame-reader";
import { type Manifest, packKey, readManifest } from "./manifest-file";
import type { FileRecord, FrameRecord, PackRecord } from "./manifest-records";
import type { SnapshotFile } from "./manifest-table";
import { Pace } from "./pace";
import { formatReference, parseReference } from "./reference";
import { ownBuffers, RestoreWorkers, type ThreadChoice } from "./restore-workers";
import { DamagedSnapshotError, SnapshotNotFoundError, type Verification, type VerifyRequest } from "./types";

/** Bytes of packs that one thread hashes and decompresses in a millisecond, roughly. */
const bytesPerMillisecond = 200_000;

/**
 * Whether a snapshot can be restored. A missing or damaged manifest or pack is a problem in the answer, not an error, so that all
 * problems are found at once.
 */
export async function verify(request: VerifyRequest): Promise<Verification> {
  const { reference } = request;
  const { store: where, digest } = parseReference(reference);
  const store = openStore(where, request.settings, request);
  return verifyIn(store, digest, { ...request, verified: new Verified() });
}

/** What was verified already, for snapshots of one store, most of whose content is the same. */
export class Verified {
  /** Packs that were found whole; those with problems are looked at again for every snapshot. */
  readonly packs = new Set<string>();
  readonly frames = new Set<string>();
  readonly files = new Set<string>();

  /** `sizes`: the store's packs, where they were listed already: hash → bytes. */
  constructor(readonly sizes?: ReadonlyMap<string, number>) {}
}

/** As {@link verify}, without reading again what was verified already. */
export async function verifyIn(
  store: ObjectStore,
  digest: string,
  request: Omit<VerifyRequest, "reference"> & ThreadChoice & { readonly verified: Verified },
): Promise<Verification> {
  const reference = formatReference({ store: store.location, digest });
  let manifest: Manifest;
  try {
    manifest = await readManifest(store, digest);
  } catch (error) {
    if (!(error instanceof DamagedSnapshotError || error instanceof SnapshotNotFoundError)) throw error;
    return { reference, packs: 0, bytesRead: 0, problems: [error.message] };
  }
  const verifier = new Verifier(store, manifest, new Pace(request), request.verified, request);
  const problems = request.deep ? await verifier.readEverything() : await verifier.lookAtPacks();
  return { reference, packs: manifest.packs.length, bytesRead: verifier.bytesRead, problems };
}

class Verifier {
  bytesRead = 0;

  constructor(
    private readonly store: ObjectStore,
    private readonly manifest: Manifest,
    private readonly pace: Pace,
    private readonly verified: Verified,
    private readonly threads: ThreadChoice,
  ) {}

  async lookAtPacks(): Promise<readonly string[]> {
    const problems: string[] = [];
    for (const { sha256, size } of this.manifest.packs) {
      this.pace.check(() => "looking at packs");
      problems.push(...(await this.#lookAtPack(sha256, size)));
    }
    return problems;
  }

  async #lookAtPack(sha256: string, size: number): Promise<readonly string[]> {
    const { sizes } = this.verified;
    const found = sizes === undefined ? (await this.store.find(packKey(sha256)))?.size : sizes.get(sha256);
    if (found === undefined) return [`${this.#name(sha256)} is missing`];
    return found === size ? [] : [`${this.#name(sha256)} is damaged: it has ${found} bytes instead of ${size}`];
  }

  async readEverything(): Promise<readonly string[]> {
    const framesOf = this.manifest.packs.map((): FrameRecord[] => []);
    for (const frame of this.manifest.frames) framesOf[frame.pack]?.push(frame);
    const found: (readonly string[])[] = [];
    const bytes = this.manifest.packs.reduce((sum, { size }) => sum + size, 0);
    const workers = new RestoreWorkers(bytes / bytesPerMillisecond, this.threads);
    await workers.workThrough(this.manifest.packs.keys(), workers.size, async (number) => {
      found[number] = await this.#readPack(number, framesOf[number] ?? [], workers);
      await this.pace.rest(() => this.#describe());
    });
    const damaged = new Set(found.flatMap((problems, number) => (problems.length > 0 ? [number] : [])));
    return [...found.flat(), ...(await this.#readFiles(damaged))];
  }

  /** The pack against its name, and each frame against the manifest. */
  async #readPack(number: number, frames: readonly FrameRecord[], workers: RestoreWorkers): Promise<readonly string[]> {
    const pack = this.manifest.packs[number];
    if (pack === undefined) return [];
    const { sha256, size } = pack;
    const unread = frames.filter((frame) => !this.verified.frames.has(this.#frameKey(frame)));
    if (unread.length === 0 && this.verified.packs.has(sha256)) return [];
    // Its size first: what a manifest or a disk makes too large is not read into memory.
    const wrong = await this.#lookAtPack(sha256, size);
    if (wrong.length > 0) return wrong;
    const name = this.#name(sha256);
    const checked = await this.#checkPack(pack, unread, workers).catch((error: unknown) => {
      if (error instanceof DamagedSnapshotError) return error.message;
      throw error;
    });
    if (typeof checked === "string") return [checked];
    this.bytesRead += size;
    if (!checked.isWhole) return [`${name} is damaged: its content is not what its name says`];
    this.verified.packs.add(sha256);
    const problems: string[] = [];
    for (const [index, frame] of unread.entries()) {
      const problem = checked.frames[index] ?? null;
      if (problem === null) this.verified.frames.add(this.#frameKey(frame));
      else problems.push(problem);
    }
    return problems;
  }

  async #checkPack({ sha256, size }: PackRecord, frames: readonly FrameRecord[], workers: RestoreWorkers) {
    const key = packKey(sha256);
    const name = this.#name(sha256);
    const source = this.store.fileOf?.(key) ?? (await this.#fetch(key, name));
    if (typeof source !== "string" && source.length !== size) {
      throw new DamagedSnapshotError(`${name} is damaged: it has ${source.length} bytes instead of ${size}`);
    }
    const pack = { name, offset: 0, length: size, source };
    return workers.run("check-pack", { pack, sha256, frames }, ownBuffers(source));
  }

  async #fetch(key: string, name: string): Promise<Buffer> {
    try {
      return await this.store.get(key);
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error;
      throw new DamagedSnapshotError(`${name} is missing`);
    }
  }

  /** Every file's content against its hash, as a restore would put it together. */
  async #readFiles(damaged: ReadonlySet<number>): Promise<readonly string[]> {
    const problems: string[] = [];
    const readable = this.manifest.entries.filter((entry): entry is SnapshotFile => {
      if (entry.type !== "file") return false;
      if (entry.parts.some(([frame]) => damaged.has(this.manifest.frames[frame]?.pack ?? -1))) return false;
      return !this.verified.files.has(this.#fileKey(entry));
    });
    const small = readable.filter(({ parts }) => parts.length <= 1);
    for (const file of readable) if (file.parts.length > 1) problems.push(...(await this.#readLarge(file)));
    problems.push(...(await this.#readSmall(small)));
    return problems;
  }

  async #readLarge(file: FileRecord): Promise<readonly string[]> {
    const whole = createHash("sha256");
    let part = 0;
    for await (const { content } of readFrames(
      this.store,
      this.manifest,
      file.parts.map(([frame]) => frame),
    )) {
      const [, offset, length] = file.parts[part++] ?? [0, 0, 0];
      whole.update(content.subarray(offset, offset + length));
      await this.pace.rest(() => this.#describe());
    }
    return this.#judge(file, whole.digest("hex"));
  }

  async #readSmall(files: readonly FileRecord[]): Promise<readonly string[]> {
    const problems: string[] = [];
    const byFrame = new Map<number, FileRecord[]>();
    for (const file of files) {
      const [part] = file.parts;
      if (part === undefined) {
        problems.push(...this.#judge(file, hash("sha256", "")));
        continue;
      }
      const others = byFrame.get(part[0]);
      if (others === undefined) byFrame.set(part[0], [file]);
      else others.push(file);
    }
    const numbers = [...byFrame.keys()].sort((a, b) => a - b);
    for await (const { number, content } of readFrames(this.store, this.manifest, numbers)) {
      for (const file of byFrame.get(number) ?? []) {
        const [, offset, length] = file.parts[0] ?? [0, 0, 0];
        problems.push(...this.#judge(file, hash("sha256", content.subarray(offset, offset + length))));
      }
      if (this.pace.due) await this.pace.rest(() => this.#describe());
    }
    return problems;
  }

  #judge(file: FileRecord, sha256: string): readonly string[] {
    if (sha256 !== file.sha256) return [wrongContent(file)];
    this.verified.files.add(this.#fileKey(file));
    return [];
  }

  #frameKey({ pack, offset, length, size, sha256 }: FrameRecord): string {
    return `${this.manifest.packs[pack]?.sha256}:${offset}:${length}:${size}:${sha256}`;
  }

  /** What it is made of by content, since frames are numbered differently in each manifest. */
  #fileKey({ sha256, parts }: FileRecord): string {
    const made = parts.map(([frame, offset, length]) => `${this.manifest.frames[frame]?.sha256}:${offset}:${length}`);
    return hash("sha256", `${sha256} ${made.join(" ")}`);
  }

  #name(sha256: string): string {
    return `${this.store.location}/${packKey(sha256)}`;
  }

  #describe(): string {
    return `verified ${formatSize(this.bytesRead)}`;
  }
}

function wrongContent({ path }: FileRecord): string {
  return `${path}: what the manifest's parts give is not the content that it says`;
}
