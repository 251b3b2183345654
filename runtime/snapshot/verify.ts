import { createHash, hash } from "node:crypto";
import { ObjectNotFoundError, type ObjectStore, openStore } from "../store";
import { formatSize } from "../units";
import { checkFrame, readFrames } from "./frame-reader";
import { type Manifest, packKey, readManifest } from "./manifest-file";
import type { FileRecord } from "./manifest-records";
import { Pace } from "./pace";
import { parseReference } from "./reference";
import { DamagedSnapshotError, SnapshotNotFoundError, type Verification, type VerifyRequest } from "./types";

/**
 * Whether a snapshot can be restored. A missing or damaged manifest or pack is a problem in the answer, not an error, so that all
 * problems are found at once.
 */
export async function verify(request: VerifyRequest): Promise<Verification> {
  const { reference } = request;
  const { store: where, digest } = parseReference(reference);
  const store = openStore(where, request.settings, request);
  let manifest: Manifest;
  try {
    manifest = await readManifest(store, digest);
  } catch (error) {
    if (!(error instanceof DamagedSnapshotError || error instanceof SnapshotNotFoundError)) throw error;
    return { reference, packs: 0, bytesRead: 0, problems: [error.message] };
  }
  const verifier = new Verifier(store, manifest, new Pace(request));
  const problems = request.deep ? await verifier.readEverything() : await verifier.lookAtPacks();
  return { reference, packs: manifest.packs.length, bytesRead: verifier.bytesRead, problems };
}

class Verifier {
  bytesRead = 0;

  constructor(
    private readonly store: ObjectStore,
    private readonly manifest: Manifest,
    private readonly pace: Pace,
  ) {}

  async lookAtPacks(): Promise<readonly string[]> {
    const problems: string[] = [];
    for (const { sha256, size } of this.manifest.packs) {
      this.pace.check(() => "looking at packs");
      const found = await this.store.find(packKey(sha256));
      if (found === null) problems.push(`${this.#name(sha256)} is missing`);
      else if (found.size !== size) {
        problems.push(`${this.#name(sha256)} is damaged: it has ${found.size} bytes instead of ${size}`);
      }
    }
    return problems;
  }

  async readEverything(): Promise<readonly string[]> {
    const problems: string[] = [];
    const damaged = new Set<number>();
    for (const number of this.manifest.packs.keys()) {
      const found = await this.#readPack(number);
      problems.push(...found);
      if (found.length > 0) damaged.add(number);
      await this.pace.rest(() => this.#describe());
    }
    return [...problems, ...(await this.#readFiles(damaged))];
  }

  /** The pack against its name, and each frame against the manifest. */
  async #readPack(number: number): Promise<readonly string[]> {
    const pack = this.manifest.packs[number];
    if (pack === undefined) return [];
    const name = this.#name(pack.sha256);
    let bytes: Buffer;
    try {
      bytes = await this.store.get(packKey(pack.sha256));
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error;
      return [`${name} is missing`];
    }
    this.bytesRead += bytes.length;
    if (bytes.length !== pack.size) return [`${name} is damaged: it has ${bytes.length} bytes instead of ${pack.size}`];
    if (hash("sha256", bytes) !== pack.sha256) return [`${name} is damaged: its content is not what its name says`];
    const problems: string[] = [];
    for (const frame of this.manifest.frames) {
      if (frame.pack !== number) continue;
      try {
        await checkFrame(bytes.subarray(frame.offset, frame.offset + frame.length), frame, name);
      } catch (error) {
        if (!(error instanceof DamagedSnapshotError)) throw error;
        problems.push(error.message);
      }
    }
    return problems;
  }

  /** Every file's content against its hash, as a restore would put it together. */
  async #readFiles(damaged: ReadonlySet<number>): Promise<readonly string[]> {
    const problems: string[] = [];
    const readable = this.manifest.entries.filter((entry): entry is FileRecord => {
      if (entry.type !== "file") return false;
      return !entry.parts.some(([frame]) => damaged.has(this.manifest.frames[frame]?.pack ?? -1));
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
    return whole.digest("hex") === file.sha256 ? [] : [wrongContent(file)];
  }

  async #readSmall(files: readonly FileRecord[]): Promise<readonly string[]> {
    const problems: string[] = [];
    const byFrame = new Map<number, FileRecord[]>();
    for (const file of files) {
      const [part] = file.parts;
      if (part === undefined) {
        if (file.sha256 !== hash("sha256", "")) problems.push(wrongContent(file));
      } else byFrame.set(part[0], [...(byFrame.get(part[0]) ?? []), file]);
    }
    const numbers = [...byFrame.keys()].sort((a, b) => a - b);
    for await (const { number, content } of readFrames(this.store, this.manifest, numbers)) {
      for (const file of byFrame.get(number) ?? []) {
        const [, offset, length] = file.parts[0] ?? [0, 0, 0];
        if (hash("sha256", content.subarray(offset, offset + length)) !== file.sha256)
          problems.push(wrongContent(file));
      }
      if (this.pace.due) await this.pace.rest(() => this.#describe());
    }
    return problems;
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
