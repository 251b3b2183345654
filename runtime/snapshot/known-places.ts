import type { Parts } from "./parts";
import { below, isWithin } from "./paths";

/**
 * The places of a virtual environment that are known to hold the absolute path of where it is. They are rewritten when an
 * environment is restored elsewhere, and for the identity that path is replaced by a fixed text, so that a restored
 * environment has the identity that it was packed with.
 */

/** Stands for the environment's root in what counts for the identity. */
export const rootMark = "<root>";
/** Bytes. Scripts and configuration are far smaller; larger files are not looked into. */
export const largestKnownPlace = 1024 * 1024;

const packages = /^lib\/python[^/]+\/site-packages\/(?<rest>.*)$/;
const packageFiles = /^([^/]+\.(pth|egg-link)|__editable__[^/]*\.py|[^/]+\.dist-info\/direct_url\.json)$/;
/** True for everything that {@link packageFiles} matches, and little else: nearly every file of an environment is asked about. */
function mayBePackageFile(path: string): boolean {
  return (
    path.endsWith(".pth") ||
    path.endsWith(".egg-link") ||
    path.endsWith("/direct_url.json") ||
    path.includes("/__editable__")
  );
}

export function isKnownPlace(path: string, parts: Parts): boolean {
  if (!isWithin(path, parts.dependencies)) return false;
  const inside = below(path, parts.dependencies);
  if (inside === "pyvenv.cfg") return true;
  if (inside.startsWith("bin/")) return inside.length > 4 && !inside.includes("/", 4);
  if (!mayBePackageFile(inside)) return false;
  const rest = packages.exec(inside)?.groups?.rest;
  return rest !== undefined && packageFiles.test(rest);
}

/** Scripts that the kernel's line limit or a space in the path made start through a shell, as pip and uv write them. */
const trampoline = /^#!\/bin\/sh\n'''exec' (?:"([^"\n]+)"|'([^'\n]+)'|(\S+)) "\$0" "\$@"\n' '''\n/;
const shebang = /^#!([^\n]+)\n/;
/** Linux reads 255 bytes of a first line, older kernels 127, other systems less. */
const longestShebang = 127;

/** The content with one root instead of another, or null where it does not name the first. `content` may hold any bytes. */
export function relocate(content: Buffer, path: string, from: string, to: string): Buffer | null {
  const text = textOf(content);
  if (text === null) return null;
  const forUrl = path.endsWith(".json") ? encodeURI : (root: string) => root;
  const replaced = replaceRoot(text, bytesOf(forUrl(from)), bytesOf(forUrl(to)));
  if (replaced === null) return null;
  return Buffer.from(withUsableShebang(text, replaced), "latin1");
}

/** The content as it counts for the identity, or null where it counts as it is. */
export function normalize(content: Buffer, path: string, root: string): Buffer | null {
  const text = textOf(content);
  if (text === null) return null;
  const forUrl = path.endsWith(".json") ? encodeURI : (folder: string) => folder;
  const replaced = replaceRoot(text, bytesOf(forUrl(root)), rootMark);
  if (replaced === null) return null;
  const plain = replaced.replace(trampoline, (_, double, single, bare) => `#!${double ?? single ?? bare}\n`);
  return Buffer.from(plain, "latin1");
}

/** A link's target with one root instead of another, or null where it does not lead into the first. */
export function relocateTarget(target: string, from: string, to: string): string | null {
  return target === from || target.startsWith(`${from}/`) ? to + target.slice(from.length) : null;
}

/** The bytes as text of one character each, or null for what is no text. */
function textOf(content: Buffer): string | null {
  return content.includes(0) ? null : content.toString("latin1");
}

const bytesOf = (text: string) => Buffer.from(text).toString("latin1");

function replaceRoot(text: string, from: string, to: string): string | null {
  if (from.length < 2 || !text.includes(from)) return null;
  // Not inside a longer name: /srv/studio is neither in /srv/studio-2 nor in /mnt/srv/studio.
  const partOfName = "[\\w.\\-\\x80-\\xff]";
  const escaped = from.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const replaced = text.replace(new RegExp(`(?<!${partOfName})${escaped}(?!${partOfName})`, "g"), () => to);
  return replaced === text ? null : replaced;
}

/** A first line that became too long, or has a space in it now, is replaced by the form that pip uses for such paths. */
function withUsableShebang(before: string, after: string): string {
  const old = shebang.exec(before)?.[1];
  const line = shebang.exec(after)?.[1];
  if (old === undefined || line === undefined || old === line || old.includes(" ")) return after;
  if (line.length + 2 <= longestShebang && !line.includes(" ")) return after;
  return after.replace(shebang, () => `#!/bin/sh\n'''exec' "${line}" "$0" "$@"\n' '''\n`);
}
