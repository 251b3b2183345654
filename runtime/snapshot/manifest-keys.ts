import type { ObjectStore } from "../store";

export const manifestKey = (digest: string) => `snapshots/${digest}`;
export const packKey = (sha256: string) => `packs/${sha256.slice(0, 2)}/${sha256}`;

/** For errors. */
export function nameOfManifest(store: ObjectStore, digest: string): string {
  return `${store.location}/${manifestKey(digest)}`;
}
