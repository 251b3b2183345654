import type { ObjectStore, StoredObject } from "../store";
import { inParallel } from "./in-parallel";
import { nameOf } from "./paths";
import { markKey } from "./prune-wait";

/** An object by the last segment of its key. */
export interface Found extends Omit<StoredObject, "key"> {
  readonly name: string;
}

/** The marks of a store, as they were when a prune looked and as it changes them. With `dryRun`, the store stays as it is. */
export class PruneMarks {
  readonly #store: ObjectStore;
  readonly #now: Date;
  readonly #wait: number;
  readonly #dryRun: boolean;
  readonly #marks: Map<string, Found>;

  /** `wait`: milliseconds between a mark and the removal of what is marked. */
  constructor(
    store: ObjectStore,
    marks: ReadonlyMap<string, Found>,
    { now, wait, dryRun }: { readonly now: Date; readonly wait: number; readonly dryRun: boolean },
  ) {
    this.#store = store;
    this.#marks = new Map(marks);
    this.#now = now;
    this.#wait = wait;
    this.#dryRun = dryRun;
  }

  get names(): readonly string[] {
    return [...this.#marks.keys()];
  }

  has(name: string): boolean {
    return this.#marks.has(name);
  }

  /** True for what the store has had for the wait. */
  isOver(since: Date): boolean {
    return this.#now.getTime() - since.getTime() >= this.#wait;
  }

  /** True for what may be removed, if nothing needs it. */
  isRipe(name: string): boolean {
    return this.isOver(this.#marks.get(name)?.storedAt ?? this.#now);
  }

  /** From when on it may be removed. */
  until(name: string): Date {
    return new Date((this.#marks.get(name)?.storedAt ?? this.#now).getTime() + this.#wait);
  }

  async add(names: readonly string[]): Promise<void> {
    if (!this.#dryRun) await inParallel(names, async (name) => void (await this.#store.create(markKey(name), [])));
    for (const name of names) this.#marks.set(name, { name, size: 0, storedAt: this.#now });
  }

  async remove(names: readonly string[]): Promise<void> {
    if (!this.#dryRun) await inParallel(names, (name) => this.#store.remove(markKey(name)));
  }

  /** Removes each object and then its mark, so that the mark is never missing while what it marks can still be found. */
  async removeMarked<T extends { readonly name: string }>(
    marked: readonly T[],
    keyOf: (name: string) => string,
  ): Promise<readonly T[]> {
    if (this.#dryRun) return marked;
    const removed: T[] = [];
    await inParallel(marked, async (found) => {
      // Another prune may have removed it and the mark, and a packer have stored it again.
      const mark = await this.#store.find(markKey(found.name));
      if (mark === null || (this.#wait > 0 && !this.isOver(mark.storedAt))) return;
      await this.#store.remove(keyOf(found.name));
      removed.push(found);
      await this.#store.remove(markKey(found.name));
    });
    return removed;
  }
}

/** Objects of a store by the last segment of their keys. `tell` is called for each. */
export async function objectsIn(store: ObjectStore, prefix: string, tell: () => void): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  for await (const { key, size, storedAt } of store.list(prefix)) {
    tell();
    found.set(nameOf(key), { name: nameOf(key), size, storedAt });
  }
  return found;
}
