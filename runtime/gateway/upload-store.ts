import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import type { FileReference } from "./json-text";
import type { Download } from "./kept-file";
import type { Log } from "./log";
import type { Kept } from "./result-store";
import { type SpoolChanges, unwatched } from "./spool-changes";

const keptUpload = z.object({
  filename: z.string(),
  subfolder: z.string(),
  type: z.string(),
  sha256: z.string(),
  bytes: z.number(),
  contentType: z.string(),
});

export interface KeptUpload extends z.infer<typeof keptUpload> {
  /** Absolute path of its content. */
  readonly path: string;
  /** Milliseconds since 1970. */
  usedAt: number;
}

/** What clients uploaded, under the name they were given, so that every instance can have it. */
export class UploadStore {
  private readonly uploads = new Map<string, KeptUpload>();

  private constructor(
    private readonly folder: string,
    private readonly incoming: string,
    private readonly changes: SpoolChanges,
  ) {}

  static async open(spool: string, log: Log, changes: SpoolChanges = unwatched): Promise<UploadStore> {
    const store = new UploadStore(join(spool, "uploads"), join(spool, "incoming"), changes);
    await mkdir(store.folder, { recursive: true });
    const found: KeptUpload[] = [];
    for (const name of await readdir(store.folder)) {
      const path = join(store.folder, name);
      try {
        const meta = keptUpload.parse(JSON.parse(await readFile(join(path, "meta.json"), "utf8")));
        const { mtimeMs } = await stat(join(path, "meta.json"));
        found.push({ ...meta, path: join(path, "content"), usedAt: mtimeMs });
      } catch (error) {
        log(`a damaged upload is removed from the spool: ${name}: ${(error as Error).message}`);
        await rm(path, { recursive: true, force: true });
      }
    }
    for (const upload of found.sort((a, b) => a.usedAt - b.usedAt)) store.uploads.set(uploadKey(upload), upload);
    return store;
  }

  get bytes(): number {
    return [...this.uploads.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get(reference: FileReference): KeptUpload | undefined {
    return this.uploads.get(uploadKey(reference));
  }

  all(): readonly KeptUpload[] {
    return [...this.uploads.values()];
  }

  /** A path for content that is not kept yet; removed by {@link keep} or with the gateway's next start. */
  async incomingPath(): Promise<string> {
    await mkdir(this.incoming, { recursive: true });
    return join(this.incoming, randomUUID());
  }

  /** Keeps content that was written to an incoming path; what had the name before is replaced. */
  async keep(incoming: string, reference: FileReference, content: Download): Promise<KeptUpload> {
    const { filename, subfolder, type } = reference;
    const key = uploadKey(reference);
    const previous = this.uploads.get(key);
    const meta = { filename, subfolder, type, ...content };
    const name = createHash("sha256").update(`${key}\n${content.sha256}`).digest("hex").slice(0, 40);
    const folder = join(this.folder, name);
    const path = join(folder, "content");
    if (previous?.path !== path) {
      const staged = `${incoming}.folder`;
      await mkdir(staged);
      await rename(incoming, join(staged, "content"));
      await writeFile(join(staged, "meta.json"), JSON.stringify(meta), { mode: 0o600 });
      await rm(folder, { recursive: true, force: true });
      await rename(staged, folder);
      this.changes.put("uploads", name);
      if (previous !== undefined) await this.removeFolder(previous);
    } else await rm(incoming, { force: true });
    const upload = { ...meta, path, usedAt: Date.now() };
    this.uploads.set(key, upload);
    return upload;
  }

  /** Notes that a prompt named the upload: what was used last is removed last. */
  async touch(upload: KeptUpload): Promise<void> {
    upload.usedAt = Date.now();
    const seconds = upload.usedAt / 1000;
    try {
      await utimes(join(upload.path, "..", "meta.json"), seconds, seconds);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  kept(): readonly Kept[] {
    return this.all().map((upload) => ({
      at: upload.usedAt,
      bytes: upload.bytes,
      what: `the upload ${upload.type}/${upload.subfolder}/${upload.filename}`,
      remove: async () => {
        if (this.uploads.get(uploadKey(upload)) === upload) this.uploads.delete(uploadKey(upload));
        await this.removeFolder(upload);
      },
    }));
  }

  private async removeFolder({ path }: KeptUpload): Promise<void> {
    const folder = join(path, "..");
    this.changes.remove("uploads", basename(folder));
    await rm(folder, { recursive: true, force: true });
  }
}

function uploadKey({ type, subfolder, filename }: FileReference): string {
  return JSON.stringify([type, subfolder, filename]);
}
