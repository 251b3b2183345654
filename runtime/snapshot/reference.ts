import { isAbsolute } from "node:path";
import { formatS3Location, isS3Location, parseS3Location } from "../store";
import type { SnapshotReference } from "./types";

const separator = "#sha256:";

/** Reads `<absolute folder or s3://bucket/prefix>#sha256:<64 hex digits>`; throws an error that says what would be right. */
export function parseReference(text: string): SnapshotReference {
  const at = text.lastIndexOf(separator);
  const store = text.slice(0, Math.max(at, 0));
  const digest = text.slice(at + separator.length);
  const wrong =
    at < 0
      ? `it has no "${separator}"`
      : !isS3Location(store) && (!isAbsolute(store) || store.includes("\0"))
        ? "what stands before # is neither the absolute path of a folder nor s3://bucket/prefix"
        : /^[0-9a-f]{64}$/.test(digest)
          ? null
          : "what follows sha256: is not 64 lower-case hex digits";
  if (wrong === null) return { store: isS3Location(store) ? formatS3Location(parseS3Location(store)) : store, digest };
  throw new Error(
    `${JSON.stringify(text)} is not a snapshot reference: ${wrong}; right is for example /srv/comfyui/store${separator}<64 hex digits> or s3://my-bucket/comfyui${separator}<64 hex digits>`,
  );
}

/** The text form of a reference, which {@link parseReference} reads. */
export function formatReference({ store, digest }: SnapshotReference): string {
  return `${store}${separator}${digest}`;
}
