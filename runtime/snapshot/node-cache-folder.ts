import { lstatSync, lutimesSync, mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { removeTree } from "../remove-tree";
import { isPresent, Presence, presentIn } from "./presence";

/*
 * <digest>                     a complete restore; its time is that of its last use
 * <digest>.lock                a link to the token of who makes it
 * <digest>.<token>.partial     being made
 * <digest>.<token>.<n>.removed on its way out
 * <token>.present              who takes part, see presence.ts; leads to the beginning of the digest
 *
 * Everything may end at any line, in any of those who take part. Nobody relies on a restore that is there: what is read from it is
 * compared, and may be gone in the middle.
 */

const complete = /^[0-9a-f]{64}$/;
const leftOver = /^[0-9a-f]{64}\.([^.]+)\.(?:partial|\d+\.removed)$/;

/** A folder of complete restores by digest, as one who restores from it sees it. Must be left. */
export class NodeCacheFolder {
  /** Where the complete restore is, if there is one. */
  readonly entry: string;
  readonly #presence: Presence;
  /** Which folder was found at {@link entry}. */
  #inode: bigint | null = null;
  #removed = 0;

  /** Throws where it cannot be written to. */
  constructor(
    readonly path: string,
    private readonly digest: string,
  ) {
    mkdirSync(path, { recursive: true });
    this.entry = join(path, digest);
    this.#presence = new Presence(path, digest);
  }

  leave(): void {
    this.#presence.end();
  }

  has(): boolean {
    return lstatSync(this.entry, { throwIfNoEntry: false })?.isDirectory() === true;
  }

  /** Notes that the restore is used now, where there is one. */
  use(): boolean {
    const found = lstatSync(this.entry, { throwIfNoEntry: false, bigint: true });
    if (found?.isDirectory() !== true) return false;
    const now = Date.now() / 1000;
    try {
      lutimesSync(this.entry, now, now);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return false;
    }
    this.#inode = found.ino;
    return true;
  }

  /** Whether nobody else makes it, so that this one may. Should another have been silent for long and go on, the first to finish counts. */
  takeLock(): boolean {
    try {
      symlinkSync(this.#presence.token, this.#lock);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      return false;
    }
  }

  releaseLock(): void {
    if (this.#lockOwner() === this.#presence.token) rmSync(this.#lock, { force: true });
  }

  /** Whether somebody makes it who lives; removes the lock of one who does not. */
  isBeingMade(): boolean {
    const owner = this.#lockOwner();
    if (owner === null) return false;
    if (isPresent(this.path, owner)) return true;
    rmSync(this.#lock, { force: true });
    return false;
  }

  /** A folder to make it in. */
  makePartial(): string {
    const partial = `${this.entry}.${this.#presence.token}.partial`;
    mkdirSync(partial, { mode: 0o700 });
    return partial;
  }

  /** Gives a complete restore its name, unless another has been quicker. */
  async complete(partial: string): Promise<void> {
    try {
      await rename(partial, this.entry);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
      await removeTree(partial);
    }
  }

  /** Removes the restore that {@link use} has found, not one that was made since. */
  async discard(): Promise<void> {
    const found = lstatSync(this.entry, { throwIfNoEntry: false, bigint: true });
    if (found !== undefined && found.ino === this.#inode) await this.#remove(this.digest);
  }

  /** Removes what the dead have left, and all but the newest restores. What somebody uses stays. */
  async tidy(keep: number): Promise<void> {
    await this.#removeLeftOvers();
    const old = this.#newestFirst().slice(keep);
    const used = this.#used(true);
    for (const name of old) if (!used(name)) await this.#remove(name);
  }

  /** Removes restores that nobody else uses until there is room, the oldest first and its own last. Returns whether there is. */
  async giveWay(hasRoom: () => boolean): Promise<boolean> {
    if (hasRoom()) return true;
    await this.#removeLeftOvers();
    const others = this.#newestFirst().filter((name) => name !== this.digest);
    for (const name of [this.digest, ...others].reverse()) {
      if (hasRoom()) return true;
      // Asked anew for each: removing takes a while.
      if (!this.#used(false)(name)) await this.#remove(name);
    }
    return hasRoom();
  }

  get #lock(): string {
    return `${this.entry}.lock`;
  }

  #lockOwner(): string | null {
    try {
      return readlinkSync(this.#lock);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
  }

  async #removeLeftOvers(): Promise<void> {
    const names = readdirSync(this.path);
    const present = presentIn(this.path, names);
    for (const name of names) {
      const [, token] = leftOver.exec(name) ?? [];
      if (token !== undefined && !present.has(token)) await this.#remove(name);
    }
  }

  #newestFirst(): readonly string[] {
    return readdirSync(this.path)
      .filter((name) => complete.test(name))
      .map((name) => ({ name, time: lstatSync(join(this.path, name), { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
      .sort((one, other) => other.time - one.time)
      .map(({ name }) => name);
  }

  #used(byThis: boolean): (name: string) => boolean {
    const present = presentIn(this.path, readdirSync(this.path));
    const used = [...present].filter(([token]) => byThis || token !== this.#presence.token).map(([, text]) => text);
    return (name) => used.some((text) => name.startsWith(text));
  }

  /**
   * By another name first, so that nobody finds a part of it, nobody else removes it at the same time, and it goes even when this
   * process is killed now.
   */
  async #remove(name: string): Promise<void> {
    this.#removed += 1;
    const [digest] = name.split(".");
    const aside = join(this.path, `${digest}.${this.#presence.token}.${this.#removed}.removed`);
    try {
      await rename(join(this.path, name), aside);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw error;
    }
    await removeTree(aside);
  }
}
