/** Paths here are relative to an environment's root, with `/` as separator; the root itself is the empty text. */

const surrogate = /[\ud800-\udfff]/;

/** Orders texts by their UTF-8 bytes, as `LC_ALL=C sort` does. JavaScript's own order differs only where surrogates are. */
export function compareBytes(a: string, b: string): number {
  if (surrogate.test(a) || surrogate.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : a > b ? 1 : 0;
}

/** True for the folder itself and for everything below it. */
export function isWithin(path: string, folder: string): boolean {
  return folder === "" || path === folder || (path.startsWith(folder) && path[folder.length] === "/");
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function joinPath(folder: string, rest: string): string {
  return folder === "" ? rest : rest === "" ? folder : `${folder}/${rest}`;
}

/** A path without the folder that it is within. */
export function below(path: string, folder: string): string {
  return folder === "" ? path : path.slice(folder.length + 1);
}

/** Every folder above a path, the nearest first, without the root. */
export function* foldersAbove(path: string): Generator<string> {
  for (let folder = parentOf(path); folder !== ""; folder = parentOf(folder)) yield folder;
}
