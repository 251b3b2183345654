import { chunkSize } from "./content";
import type { TreeEntry } from "./tree-entry";

/** Files that are read in one go, in the order in which they were found. */
export type PackUnit =
  /** Files that together have at most {@link chunkSize} bytes. */
  | { readonly files: readonly TreeEntry[] }
  /** A larger one. */
  | { readonly large: TreeEntry };

/** Files of a unit: so many empty ones are read in about the time in which a megabyte is compressed. */
const mostFiles = 256;
/** Bytes and files that are read and compressed in about the time that it takes to start a thread. */
const fewBytes = 4 * 1024 * 1024;
const fewFiles = 256;

/** Cuts the files to be packed into units of work. */
export class PackUnits {
  #complete: PackUnit[] = [];
  #files: TreeEntry[] = [];
  /** Bytes of the files that are in no unit yet. */
  #size = 0;
  #heldBytes = 0;
  #heldFiles = 0;

  add(entry: TreeEntry): void {
    const { size } = entry.stamp;
    this.#heldBytes += size;
    this.#heldFiles += 1;
    if (size > chunkSize) {
      this.#complete.push(...this.#closed(), { large: entry });
      return;
    }
    if (this.#size + size > chunkSize || this.#files.length === mostFiles) this.#complete.push(...this.#closed());
    this.#files.push(entry);
    this.#size += size;
  }

  /** True when what was not taken yet keeps several threads busy. */
  get areMany(): boolean {
    return this.#heldBytes > fewBytes || this.#heldFiles > fewFiles;
  }

  takeComplete(): readonly PackUnit[] {
    const taken = this.#complete;
    if (taken.length > 0) this.#complete = [];
    return taken;
  }

  takeAll(): readonly PackUnit[] {
    return [...this.takeComplete(), ...this.#closed()];
  }

  #closed(): readonly PackUnit[] {
    const files = this.#files;
    if (files.length === 0) return [];
    this.#files = [];
    this.#size = 0;
    return [{ files }];
  }
}
