/** An object as a listing shows it. */
export interface StoredObject {
  /** For example `packs/3f/3f9c…`; segments are separated by `/`. */
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** When it was written, by the store's own clock. */
  readonly storedAt: Date;
}

/**
 * Where packs and manifests are kept. Objects are created whole and never changed. The engine asks nothing else of a
 * store, so that a bucket can stand where a folder does.
 */
export interface ObjectStore {
  /** The store as it stands in a reference, before `#sha256:`. */
  readonly location: string;
  /** Objects of some megabytes that are created at the same time with gain. @default what the caller finds right for a disk */
  readonly parallelWrites?: number;
  /**
   * Creates an object out of pieces that follow one another; it is there completely or not at all. Returns false, and changes
   * nothing, when the key exists with that many bytes. Throws {@link DamagedObjectError} when it exists with other ones. `sha256`, of
   * all bytes, spares a store the work where it has to compute a check of its own.
   */
  create(key: string, pieces: readonly Uint8Array[], sha256?: string): Promise<boolean>;
  /** All bytes of an object. Throws {@link ObjectNotFoundError}. */
  get(key: string): Promise<Buffer>;
  /** Exactly `length` bytes from `offset` on. Throws {@link ObjectNotFoundError}, or {@link DamagedObjectError} when it is shorter. */
  getRange(key: string, offset: number, length: number): Promise<Buffer>;
  /**
   * Absolute path of a file whose bytes are the object's, for readers that read themselves, many at once. The file need not be there, nor
   * have the bytes that it should. Absent where objects are not files of this machine.
   */
  fileOf?(key: string): string;
  /** Size and time of an object, or null when there is none. */
  find(key: string): Promise<StoredObject | null>;
  /** Objects whose key starts with the folder-like prefix, for example `packs/`, sorted by key. Empty where nothing was written yet. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /**
   * Removes an object for good; only `prune` does. Absent is fine: another run was quicker, or this one was killed before it
   * could note that it had done so.
   */
  remove(key: string): Promise<void>;
  /**
   * What writers that were killed left half written and no reader looks at; never what a living one writes. Removes it unless
   * `look` is true. Where it cannot be known whether the writer lives, only what is older than `wait` milliseconds (24 hours).
   * Absent where the store keeps nothing of the kind.
   */
  removeAbandoned?(options: { readonly look: boolean; readonly wait?: number }): Promise<AbandonedObjects>;
}

/** What {@link ObjectStore.removeAbandoned} found. */
export interface AbandonedObjects {
  readonly objects: number;
  readonly bytes: number;
}

export class ObjectNotFoundError extends Error {
  override readonly name = "ObjectNotFoundError";
  constructor(location: string, key: string) {
    super(`${location} has no ${key}`);
  }
}

/** An object does not have the bytes that its name promises. */
export class DamagedObjectError extends Error {
  override readonly name = "DamagedObjectError";
}
