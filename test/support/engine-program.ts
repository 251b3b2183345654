import { randomBytes } from "node:crypto";
import { openStore, type StoreSettings } from "../../runtime/store";

export * from "../../runtime/snapshot";

export interface CreateRequest {
  readonly store: string;
  readonly settings: StoreSettings;
  readonly key: string;
  /** Bytes, of noise. */
  readonly size: number;
}

/** Writes an object, as the engine does with a pack or a manifest, of whatever size. */
export function create({ store, settings, key, size }: CreateRequest): Promise<boolean> {
  return openStore(store, settings).create(key, [randomBytes(size)]);
}
