import { isAbsolute } from "node:path";
import type { Watch } from "../waiting";
import { FolderStore } from "./folder-store";
import type { ObjectStore } from "./object-store";
import { isS3Location } from "./s3-location";
import { S3Store } from "./s3-store";
import type { StoreSettings } from "./store-settings";

/**
 * The store that a reference names before `#sha256:`: the absolute path of a folder, or `s3://bucket/prefix`. Touches nothing
 * yet. Settings and watch are for buckets: the signal ends requests, and progress tells of those that are repeated.
 */
export function openStore(location: string, settings: StoreSettings = {}, watch: Partial<Watch> = {}): ObjectStore {
  if (isS3Location(location)) return new S3Store(location, settings, watch);
  if (isAbsolute(location)) return new FolderStore(location);
  throw new Error(
    `${JSON.stringify(location)} is not a store: give the absolute path of a folder, for example /srv/comfyui/store, ` +
      "or a place in a bucket, for example s3://my-bucket/comfyui",
  );
}
