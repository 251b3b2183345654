import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { InvalidInputError } from "../../problems";

/** A Pulumi project on this machine. */
export interface Project {
  /** Absolute path of the folder with the project file. */
  readonly root: string;
  readonly name: string;
  /** Folder that the program runs in, which relative paths in its inputs start from. */
  readonly programFolder: string;
}

const fileNames = ["Pulumi.yaml", "Pulumi.yml", "Pulumi.json"];

/** The project that a folder belongs to, as `pulumi` finds it: its own project file, or the nearest one above. */
export function findProject(cwd: string): Project {
  for (let folder = resolve(cwd); ; folder = dirname(folder)) {
    for (const fileName of fileNames) {
      const path = join(folder, fileName);
      if (existsSync(path)) return readProject(folder, path);
    }
    if (folder === dirname(folder)) break;
  }
  throw new InvalidInputError([
    { path: "--cwd", reason: `no Pulumi.yaml in ${resolve(cwd)} or above it; give the project's folder` },
  ]);
}

function readProject(root: string, path: string): Project {
  const text = readFileSync(path, "utf8");
  const name = path.endsWith(".json") ? jsonField(text, "name") : yamlField(text, "name");
  const main = path.endsWith(".json") ? jsonField(text, "main") : yamlField(text, "main");
  if (name === null) throw new InvalidInputError([{ path: "--cwd", reason: `${path} gives the project no name` }]);
  return { root, name, programFolder: programFolder(root, main) };
}

/** `main` names the program's folder, or the file in it that is run. */
function programFolder(root: string, main: string | null): string {
  const path = resolve(root, main ?? "");
  return /\.[cm]?[jt]s$/.test(path) ? dirname(path) : path;
}

/** A top-level scalar, plain or quoted: the only form that Pulumi's own templates write these two fields in. */
function yamlField(text: string, field: string): string | null {
  const [, raw] = new RegExp(`^${field}:[ \\t]*(.+?)[ \\t]*(?:[ \\t]#.*)?$`, "m").exec(text) ?? [];
  if (raw === undefined) return null;
  const [, , quoted] = /^(["'])(.*)\1$/.exec(raw) ?? [];
  return quoted ?? raw;
}

function jsonField(text: string, field: string): string | null {
  const value = (JSON.parse(text) as Record<string, unknown>)[field];
  return typeof value === "string" ? value : null;
}
