import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isKnownPlace, largestKnownPlace, relocate, relocateTarget } from "./known-places";
import type { Manifest } from "./manifest-file";
import { partsOf } from "./parts";
import { below, nameOf, parentOf } from "./paths";

/**
 * Rewrites the known places of a restored environment for another location than the one it was packed at, and says what it
 * did. Files are replaced, never written in place: they may be hard links.
 */
export function relocateTree({ head, entries }: Manifest, folder: string, location: string): readonly string[] {
  const from = head.root;
  if (from === location) return [];
  const parts = partsOf(head.layout);
  const files: string[] = [];
  const links: string[] = [];
  for (const entry of entries) {
    if (entry.type === "link") {
      const target = relocateTarget(entry.target, from, location);
      if (target === null) continue;
      const path = `${folder}/${entry.path}`;
      if (readlinkSync(path) !== entry.target) throw new Error(`${path} is not the link that was restored`);
      rmSync(path);
      symlinkSync(target, path);
      links.push(entry.path);
    } else if (entry.type === "file" && entry.size <= largestKnownPlace && isKnownPlace(entry.path, parts)) {
      const path = `${folder}/${entry.path}`;
      const content = relocate(readFileSync(path), entry.path, from, location);
      if (content === null) continue;
      replace(path, content, lstatSync(path).mode);
      dropByteCode(path);
      files.push(below(entry.path, parts.dependencies));
    }
  }
  return [
    ...(files.length === 0
      ? []
      : [`${files.length} files of the virtual environment named ${from} and now name ${location}: ${shorten(files)}`]),
    ...(links.length === 0
      ? []
      : [`${links.length} links led into ${from} and now lead into ${location}: ${shorten(links)}`]),
    ...(files.length > 0 && /[^\w./@%+=:,~-]/.test(location)
      ? [`${location} has characters that shells treat specially; bin/activate may not work there`]
      : []),
  ];
}

function replace(path: string, content: Buffer, mode: number): void {
  rmSync(path);
  writeFileSync(path, content, { flag: "wx", mode: mode & 0o777 });
}

/** Byte code names the time and size of its source; after a change that keeps both it would still be used. */
function dropByteCode(path: string): void {
  if (!path.endsWith(".py")) return;
  const cache = join(parentOf(path), "__pycache__");
  // A link may lead anywhere: what is there is not the environment's.
  if (lstatSync(cache, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  const stem = nameOf(path).slice(0, -3);
  for (const name of readdirSync(cache)) {
    if (name.startsWith(`${stem}.`) && name.endsWith(".pyc")) rmSync(join(cache, name));
  }
}

function shorten(paths: readonly string[]): string {
  const shown = paths.slice(0, 6).join(", ");
  return paths.length > 6 ? `${shown} and ${paths.length - 6} more` : shown;
}
