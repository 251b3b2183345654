import { openStore, type StoreSettings } from "../store";
import type { Watch } from "../waiting";
import { nameOf } from "./paths";
import type { Verification } from "./types";
import { Verified, verifyIn } from "./verify";

export interface VerifyStoreRequest extends Partial<Watch> {
  /** The store as it stands in a reference. */
  readonly store: string;
  /** For a store in a bucket. @default what the AWS SDK finds */
  readonly settings?: StoreSettings;
  /** Hash every byte that a snapshot needs, once; otherwise only presence and size of every object. */
  readonly deep: boolean;
}

export interface StoreVerification {
  readonly store: string;
  /** One for each snapshot of the store. */
  readonly snapshots: readonly Verification[];
  readonly bytesRead: number;
}

/** Whether every snapshot of a store can be restored. What several share is read once. */
export async function verifyStore(request: VerifyStoreRequest): Promise<StoreVerification> {
  const store = openStore(request.store, request.settings, request);
  const digests: string[] = [];
  for await (const { key } of store.list("snapshots/")) digests.push(nameOf(key));
  // Listed after the manifests: what is packed meanwhile has its packs before its manifest.
  const sizes = new Map<string, number>();
  for await (const { key, size } of store.list("packs/")) sizes.set(nameOf(key), size);
  const verified = new Verified(sizes);
  const snapshots: Verification[] = [];
  for (const digest of digests) {
    const progress = (message: string) => {
      request.progress?.(`snapshot ${snapshots.length + 1} of ${digests.length}: ${message}`);
    };
    snapshots.push(await verifyIn(store, digest, { ...request, progress, verified }));
  }
  return {
    store: store.location,
    snapshots,
    bytesRead: snapshots.reduce((sum, { bytesRead }) => sum + bytesRead, 0),
  };
}
