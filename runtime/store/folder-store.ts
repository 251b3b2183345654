import { type FileHandle, link, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { explainFullDisk } from "../full-disk";
import {
  type AbandonedObjects,
  DamagedObjectError,
  ObjectNotFoundError,
  type ObjectStore,
  type StoredObject,
} from "./object-store";
import { stateOfProcess, uniqueToken } from "./process-token";

/** Where objects are written before they get their name. Not part of the layout; readers never look there. */
const partialFolder = "partial";
/** Milliseconds after which a partial object of an unknown process, perhaps of another machine, is given up. */
const abandonedAfter = 24 * 3_600_000;
/** What `link` answers on file systems that have no hard links. */
const withoutHardLinks = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

/** A store in a folder of this machine or of a file server. The folder is made with the first object. */
export class FolderStore implements ObjectStore {
  #swept: Promise<unknown> | undefined;

  /** `location` is an absolute path. */
  constructor(readonly location: string) {}

  async create(key: string, pieces: readonly Uint8Array[]): Promise<boolean> {
    const size = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
    const existing = await this.find(key);
    if (existing !== null) return this.#sameOrDamaged(existing, size);
    const path = this.#path(key);
    await makeFolder(dirname(path));
    this.#swept ??= this.removeAbandoned({ look: false });
    await this.#swept;
    const partial = join(this.location, partialFolder, uniqueToken());
    await makeFolder(dirname(partial));
    try {
      await writeDurably(partial, pieces);
      if (!(await giveName(partial, path))) return this.#sameOrDamaged(await this.#existing(key), size);
    } catch (error) {
      throw explainFullDisk(error, this.location, `${size} bytes of ${key} could not be stored`);
    } finally {
      await unlink(partial).catch(unlessMissing);
    }
    await flush(dirname(path));
    return true;
  }

  async get(key: string): Promise<Buffer> {
    return this.#reading(key, (file) => file.readFile());
  }

  async getRange(key: string, offset: number, length: number): Promise<Buffer> {
    return this.#reading(key, async (file) => {
      const buffer = Buffer.allocUnsafe(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled);
        if (bytesRead === 0) {
          throw new DamagedObjectError(
            `${this.#path(key)} ends before byte ${offset + length}, which a manifest says it has`,
          );
        }
        filled += bytesRead;
      }
      return buffer;
    });
  }

  fileOf(key: string): string {
    return this.#path(key);
  }

  async find(key: string): Promise<StoredObject | null> {
    try {
      const { size, mtime } = await stat(this.#path(key));
      return { key, size, storedAt: mtime };
    } catch (error) {
      unlessMissing(error);
      return null;
    }
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    const folder = prefix.replace(/\/$/, "");
    const entries = await readdir(this.#path(folder), { withFileTypes: true }).catch((error) => {
      unlessMissing(error);
      return [];
    });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const key = `${folder}/${entry.name}`;
      if (entry.isDirectory()) yield* this.list(`${key}/`);
      else if (entry.isFile()) {
        const found = await this.find(key);
        if (found !== null) yield found;
      }
    }
  }

  async remove(key: string): Promise<void> {
    const path = this.#path(key);
    try {
      await unlink(path);
    } catch (error) {
      unlessMissing(error);
      return;
    }
    // The folder stays, though it may be empty now: somebody may be about to put an object there.
    await flush(dirname(path));
  }

  async removeAbandoned({ look }: { readonly look: boolean }): Promise<AbandonedObjects> {
    const folder = join(this.location, partialFolder);
    const names = await readdir(folder).catch((error) => {
      unlessMissing(error);
      return [];
    });
    let [objects, bytes] = [0, 0];
    for (const name of names) {
      const path = join(folder, name);
      const state = stateOfProcess(name);
      if (state === "alive") continue;
      const found = await stat(path).catch(unlessMissing);
      if (found === undefined) continue;
      if (state === "unknown" && Date.now() - found.mtimeMs <= abandonedAfter) continue;
      if (!look) await unlink(path).catch(unlessMissing);
      objects += 1;
      // One that got its name already shares its bytes with the object.
      bytes += found.nlink > 1 ? 0 : found.size;
    }
    return { objects, bytes };
  }

  #path(key: string): string {
    if (!/^[a-z]+(\/[0-9a-f]+)*$/.test(key)) throw new Error(`${JSON.stringify(key)} cannot be a key of a store`);
    return join(this.location, key);
  }

  async #existing(key: string): Promise<StoredObject> {
    const found = await this.find(key);
    if (found === null) throw new ObjectNotFoundError(this.location, key);
    return found;
  }

  #sameOrDamaged({ key, size }: StoredObject, expected: number): false {
    if (size === expected) return false;
    throw new DamagedObjectError(
      `${join(this.location, key)} has ${size} bytes instead of ${expected}: it is damaged; move it away, then run again`,
    );
  }

  async #reading<T>(key: string, read: (file: FileHandle) => Promise<T>): Promise<T> {
    let file: FileHandle;
    try {
      file = await open(this.#path(key), "r");
    } catch (error) {
      unlessMissing(error);
      throw new ObjectNotFoundError(this.location, key);
    }
    try {
      return await read(file);
    } finally {
      await file.close();
    }
  }
}

async function writeDurably(path: string, pieces: readonly Uint8Array[]): Promise<void> {
  // Read-only: nothing is meant to write to an object again.
  const file = await open(path, "wx", 0o444);
  try {
    for (const piece of pieces) {
      // Not `writeFile`, which asks another thread for every half megabyte.
      for (let at = 0; at < piece.byteLength; ) {
        at += (await file.write(piece, at, piece.byteLength - at)).bytesWritten;
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Gives a complete file its name unless something has it already. */
async function giveName(partial: string, path: string): Promise<boolean> {
  try {
    await link(partial, path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return false;
    if (code === undefined || !withoutHardLinks.has(code)) throw error;
  }
  // Names are hashes of the content, so that whatever a rename could replace here is the same object.
  await rename(partial, path);
  return true;
}

/** Makes a folder so that it is still there after a loss of power. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; ; made = dirname(made)) {
    await flush(dirname(made));
    if (made === first || made === dirname(made)) return;
  }
}

async function flush(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function unlessMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  return undefined;
}
