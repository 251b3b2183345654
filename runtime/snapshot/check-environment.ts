import { lstatSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import type { EnvironmentLocation } from "../environment";
import { InvalidInputError, type Problem } from "../problems";
import { factReader, type VirtualEnvironment } from "./facts";
import { incompleteReason } from "./incomplete";
import { type Part, type Parts, partNames, partsOf } from "./parts";
import { isWithin, nameOf } from "./paths";
import { interpreterOf } from "./virtual-environment";

/**
 * Everything that keeps an environment from being packed and started, for a preview. Paths are `root`, `layout.plugins` and
 * so on. Looks only at a few files. `usedElsewhere`: as in a `PackRequest`.
 */
export async function checkEnvironment(
  location: EnvironmentLocation,
  { usedElsewhere = false }: { readonly usedElsewhere?: boolean } = {},
): Promise<readonly Problem[]> {
  const problems = placeProblems(location);
  const wrong = new Set(problems.map(({ path }) => path));
  if (wrong.has("root")) return problems;
  const parts = partsOf(location.layout);
  return [
    ...problems,
    ...(wrong.has("layout.comfyui") ? [] : sourceProblems(location.root, parts)),
    ...(wrong.has("layout.plugins") ? [] : pluginsProblems(location.root, parts)),
    ...(wrong.has("layout.dependencies") ? [] : dependencyProblems(location.root, parts, usedElsewhere)),
  ];
}

/** Throws an {@link InvalidInputError} where an environment's root or layout are not such that it can be looked through safely. */
export function requirePlace(location: EnvironmentLocation): void {
  const problems = placeProblems(location);
  if (problems.length > 0) throw new InvalidInputError(problems);
}

function placeProblems({ root, layout }: EnvironmentLocation): Problem[] {
  const problems: Problem[] = rootProblems(root);
  const rootIsUsable = problems.length === 0;
  const parts = partsOf(layout);
  for (const part of partNames) {
    const reason = pathProblem(part, layout[part], parts) ?? (rootIsUsable ? linkProblem(root, part, parts) : null);
    if (reason !== null) problems.push({ path: `layout.${part}`, reason });
  }
  return problems;
}

function rootProblems(root: string): Problem[] {
  const problem = (reason: string) => [{ path: "root", reason: `${JSON.stringify(root)} ${reason}` }];
  if (!isAbsolute(root) || root.includes("\0")) return problem("is not an absolute path");
  const found = look(root);
  if (found === null) return problem("does not exist; give the folder that holds ComfyUI and its virtual environment");
  if (!found.isDirectory()) return problem("is not a folder");
  const incomplete = incompleteReason(root);
  return incomplete === null ? [] : [{ path: "root", reason: incomplete }];
}

function pathProblem(part: Part, written: string, parts: Parts): string | null {
  const path = parts[part];
  const shown = JSON.stringify(written);
  if (written === "" || written.includes("\0")) return `${shown} is not a path; give one relative to the root`;
  if (isAbsolute(written)) return `${shown} is absolute; give a path relative to the root`;
  if (path === ".." || path.startsWith("../")) return `${shown} leaves the root; everything that travels lies below it`;
  if (path === "" && part !== "comfyui") return `${shown} is the root itself; give a folder below it`;
  if (part === "plugins" && nameOf(path) !== "custom_nodes") {
    return `${shown} does not end in custom_nodes, the name that ComfyUI looks for in a base directory`;
  }
  const same = partNames.find((other) => other !== part && parts[other] === path);
  return same === undefined ? null : `${shown} is the folder of layout.${same} as well; each part has one of its own`;
}

/** A part behind a link would travel as that link. Models do not travel, or links to them are followed. */
function linkProblem(root: string, part: Part, parts: Parts): string | null {
  if (part === "models") return null;
  let folder = root;
  for (const segment of parts[part] === "" ? [] : parts[part].split("/")) {
    folder = join(folder, segment);
    if (!lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink()) continue;
    const target = readlinkSync(folder);
    return isOutside(root, folder)
      ? `${folder} is a link to ${target}, which leaves the root; move the folder itself there`
      : `${folder} is a link to ${target}; name the folder that it leads to`;
  }
  return null;
}

function isOutside(root: string, link: string): boolean {
  try {
    return !isWithin(realpathSync(link), realpathSync(root));
  } catch {
    return true; // It leads nowhere.
  }
}

function sourceProblems(root: string, parts: Parts): Problem[] {
  const folder = join(root, parts.comfyui);
  if (!look(folder)?.isDirectory())
    return [{ path: "layout.comfyui", reason: `${folder} is not a folder; it holds ComfyUI's source` }];
  if (look(join(folder, "main.py"))?.isFile()) return [];
  return [{ path: "layout.comfyui", reason: `${folder} has no main.py; give the folder of ComfyUI's source` }];
}

function pluginsProblems(root: string, parts: Parts): Problem[] {
  const folder = join(root, parts.plugins);
  if (look(folder)?.isDirectory()) return [];
  return [
    {
      path: "layout.plugins",
      reason: `${folder} is not a folder; ComfyUI does not start without it, but it may be empty`,
    },
  ];
}

function dependencyProblems(root: string, parts: Parts, usedElsewhere: boolean): Problem[] {
  const folder = join(root, parts.dependencies);
  const problem = (reason: string) => [{ path: "layout.dependencies", reason }];
  const remedy = `make one with python3 -m venv ${folder}`;
  if (!look(folder)?.isDirectory()) return problem(`${folder} is not a folder; ${remedy}`);
  const configuration = readConfiguration(folder, parts);
  if (configuration === null) return problem(`${folder} has no pyvenv.cfg, so it is no virtual environment; ${remedy}`);
  const python = join(folder, "bin", "python");
  const link = lstatSync(python, { throwIfNoEntry: false });
  if (link === undefined) return problem(`${folder} has no bin/python; ${remedy}`);
  // What it leads to is in the other container's image.
  if (usedElsewhere && link.isSymbolicLink()) return [];
  if (look(python)?.isFile() !== true) {
    return problem(`${python} leads to an interpreter that is gone; install it again, or ${remedy}`);
  }
  if ((statSync(python).mode & 0o111) === 0) return problem(`${python} is not executable`);
  const base = interpreterOf(folder, configuration).path;
  if (base !== "" && look(base) === null) {
    return problem(`its base interpreter ${base}, named in pyvenv.cfg, is gone; install it again, or ${remedy}`);
  }
  return [];
}

function readConfiguration(folder: string, parts: Parts): VirtualEnvironment | null {
  const file = join(folder, "pyvenv.cfg");
  if (look(file)?.isFile() !== true) return null;
  const path = `${parts.dependencies}/pyvenv.cfg`;
  return factReader(path, parts)?.(readFileSync(file, "utf8")) as VirtualEnvironment;
}

function look(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTDIR" || code === "ELOOP") return null;
    throw error;
  }
}
