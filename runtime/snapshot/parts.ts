import { posix } from "node:path";
import type { Layout } from "../environment";
import { isWithin, parentOf } from "./paths";

export type Part = keyof Layout;

export const partNames = ["comfyui", "plugins", "dependencies", "cache", "models"] as const satisfies readonly Part[];

/** A layout whose paths are in their shortest form; the root itself is the empty text. */
export interface Parts extends Readonly<Record<Part, string>> {}

export function partsOf(layout: Layout): Parts {
  const shorten = (path: string) => posix.normalize(path).replace(/\/+$/, "").replace(/^\.$/, "");
  return {
    comfyui: shorten(layout.comfyui),
    plugins: shorten(layout.plugins),
    dependencies: shorten(layout.dependencies),
    cache: shorten(layout.cache),
    models: shorten(layout.models),
  };
}

/** The innermost part that a path belongs to; parts nest, as plugins in ComfyUI's source. */
export function partOf(path: string, parts: Parts): Part | undefined {
  let found: Part | undefined;
  for (const part of partNames) {
    if (!isWithin(path, parts[part])) continue;
    if (found === undefined || parts[part].length > parts[found].length) found = part;
  }
  return found;
}

/** ComfyUI's folders for what belongs to a person or an instance, not to an environment. */
const personal = ["input", "output", "temp", "user"];

/** Where those folders are: in ComfyUI's source, or beside the plugins when a base directory is used. */
export function personalFolders(parts: Parts): ReadonlySet<string> {
  const bases = new Set([parts.comfyui, parentOf(parts.plugins)]);
  return new Set([...bases].flatMap((base) => personal.map((name) => (base === "" ? name : `${base}/${name}`))));
}
