import { digestSize } from "./digest-table";
import { type EntryView, isDerived, modeOf, typeOf } from "./entry-view";
import type { FrameRecord, PackRecord } from "./manifest-records";

/* Records as text, without objects in between: a manifest has a hundred thousand. What a person or a file system named goes through JSON. */

export function baseText(digest: string): string {
  return `{"type":"base","sha256":"${digest}"}`;
}

export function packText({ sha256, size }: PackRecord): string {
  return `{"type":"pack","sha256":"${sha256}","size":${size}}`;
}

export function frameText({ pack, offset, length, size, sha256 }: FrameRecord): string {
  return `{"type":"frame","pack":${pack},"offset":${offset},"length":${length},"size":${size},"sha256":"${sha256}"}`;
}

export function removedText(path: string): string {
  return `{"type":"removed","path":${JSON.stringify(path)}}`;
}

/** An entry without its end: what follows is `,"parts":[…]}` for a file, and `}` for others. */
export function openEntryText(view: EntryView): string {
  const type = typeOf(view.kind);
  const path = JSON.stringify(view.path);
  const uncounted = isDerived(view.kind) ? ',"counts":false' : "";
  if (type === "link") return `{"type":"link","path":${path},"target":${JSON.stringify(view.extra)}${uncounted}`;
  const mode = modeOf(view.kind).toString(8);
  if (type === "directory") return `{"type":"directory","path":${path},"mode":"${mode}"${uncounted}`;
  const identity = view.extra === "" ? "" : `,"identity":"${view.extra}"`;
  return (
    `{"type":"file","path":${path},"mode":"${mode}","mtime":"${formatTime(view.mtime)}","size":${view.size},` +
    `"sha256":"${view.digests.toString("hex", view.digestAt, view.digestAt + digestSize)}"${identity}${uncounted}`
  );
}

/** Seconds with nine decimals. */
function formatTime(nanoseconds: bigint): string {
  const digits = (nanoseconds < 0n ? -nanoseconds : nanoseconds).toString().padStart(10, "0");
  return `${nanoseconds < 0n ? "-" : ""}${digits.slice(0, -9)}.${digits.slice(-9)}`;
}
