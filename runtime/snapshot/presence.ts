import { lstatSync, lutimesSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { stateOfProcess, uniqueToken } from "../store";

/*
 * Processes of several containers share a folder, and cannot see each other: their process numbers are of different spaces, and their
 * files' owners the same user. So each shows that it lives, by the time of a mark. Who is silent is taken for dead. One that is not, and was
 * only stopped for long, finds that others have taken over: whoever uses presences has to be right in that case too.
 */

/** Milliseconds between two signs of life. */
const interval = 5_000;
/** Milliseconds of silence after which a process of another container is taken for dead: a node that is short of processors is slow. */
export const longestSilence = 60_000;

const ending = ".present";
/** Characters of what is told: a link's target of up to 59 takes no block of its own on a disk that may be full. */
const longestText = 32;

/** That a process takes part in something in a shared folder. Must be ended. */
export class Presence {
  readonly token = uniqueToken();
  readonly #mark: string;
  readonly #text: string;
  readonly #timer: NodeJS.Timeout;

  /** `text`: what it uses; others see the beginning. Throws where the folder cannot be written to. */
  constructor(folder: string, text: string) {
    this.#mark = join(folder, `${this.token}${ending}`);
    this.#text = text.slice(0, longestText);
    // A link that leads nowhere: made in one step with its content.
    symlinkSync(this.#text, this.#mark);
    this.#timer = setInterval(() => this.#showLife(), interval);
    this.#timer.unref();
    process.on("exit", this.#remove);
  }

  end(): void {
    clearInterval(this.#timer);
    process.off("exit", this.#remove);
    this.#remove();
  }

  /** Also when the process ends in the middle: others need not wait then. */
  readonly #remove = () => rmSync(this.#mark, { force: true });

  #showLife(): void {
    const now = Date.now() / 1000;
    try {
      lutimesSync(this.#mark, now, now);
    } catch {
      // Taken for dead and removed, after a long pause; or the disk fails, of which the work itself will tell.
      try {
        symlinkSync(this.#text, this.#mark);
      } catch {}
    }
  }
}

/** Whether the process lives whose presence in a folder has a token. */
export function isPresent(folder: string, token: string): boolean {
  const state = stateOfProcess(token);
  if (state === "dead") return false;
  const found = lstatSync(join(folder, `${token}${ending}`), { throwIfNoEntry: false });
  if (found === undefined) return false;
  // Also one of the future: the clock was set back since.
  return state === "alive" || Math.abs(Date.now() - found.mtimeMs) <= longestSilence;
}

/** What those use that are present in a folder, of whose names this is a list, by token; removes the marks of the dead. */
export function presentIn(folder: string, names: readonly string[]): ReadonlyMap<string, string> {
  const present = new Map<string, string>();
  for (const name of names) {
    if (!name.endsWith(ending)) continue;
    const token = name.slice(0, -ending.length);
    const path = join(folder, name);
    if (!isPresent(folder, token)) rmSync(path, { force: true });
    else {
      try {
        present.set(token, readlinkSync(path));
      } catch (error) {
        // It has just gone.
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
  }
  return present;
}
