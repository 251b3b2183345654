import type { Parts } from "./parts";
import { below, isWithin, nameOf } from "./paths";

/** What a person wants to see of an environment is read from a few small files; a fact is what one of them says, as JSON. */
export type FactReader = (text: string) => unknown;

export interface Distribution {
  /** Normalised as PEP 503 says. */
  readonly name: string;
  readonly version: string;
}

export interface VirtualEnvironment {
  /** Folder of the base interpreter. */
  readonly home: string | null;
  /** The base interpreter itself; Python writes it since 3.11. */
  readonly executable: string | null;
  readonly version: string | null;
}

/** The reader for a file that says something, or undefined. */
export function factReader(path: string, parts: Parts): FactReader | undefined {
  switch (nameOf(path)) {
    case "METADATA":
      return inPackages(path, parts, /^[^/]+\.dist-info\/METADATA$/) ? readDistribution : undefined;
    case "PKG-INFO":
      return inPackages(path, parts, /^[^/]+\.egg-info\/PKG-INFO$/) ? readDistribution : undefined;
    case "version.py":
      return inPackages(path, parts, /^torch\/version\.py$/) ? readCuda : undefined;
    case "pyvenv.cfg":
      return isWithin(path, parts.dependencies) && below(path, parts.dependencies) === "pyvenv.cfg"
        ? readVirtualEnvironment
        : undefined;
    case "comfyui_version.py":
      return isWithin(path, parts.comfyui) && below(path, parts.comfyui) === "comfyui_version.py"
        ? readVersionConstant
        : undefined;
    case "pyproject.toml":
      return isProject(path, parts) ? readProjectVersion : undefined;
    default:
      return inPackages(path, parts, /^[^/]+\.egg-info$/) ? readDistribution : undefined;
  }
}

/** Path inside the virtual environment's site-packages, or null. */
export function insidePackages(path: string, parts: Parts): string | null {
  if (!isWithin(path, parts.dependencies)) return null;
  return /^lib\/python[^/]+\/site-packages\/(.+)$/.exec(below(path, parts.dependencies))?.[1] ?? null;
}

function inPackages(path: string, parts: Parts, form: RegExp): boolean {
  if (path.endsWith("/METADATA") || path.endsWith("/PKG-INFO") || path.endsWith(".egg-info") || path.endsWith(".py")) {
    const inside = insidePackages(path, parts);
    return inside !== null && form.test(inside);
  }
  return false;
}

function isProject(path: string, parts: Parts): boolean {
  if (isWithin(path, parts.plugins)) return /^[^/]+\/pyproject\.toml$/.test(below(path, parts.plugins));
  return isWithin(path, parts.comfyui) && below(path, parts.comfyui) === "pyproject.toml";
}

function readDistribution(text: string): Distribution | null {
  const header = text.split(/\r?\n\r?\n/, 1)[0] ?? "";
  const name = /^Name:[ \t]*(\S.*?)[ \t\r]*$/im.exec(header)?.[1];
  const version = /^Version:[ \t]*(\S.*?)[ \t\r]*$/im.exec(header)?.[1];
  if (name === undefined || version === undefined) return null;
  return { name: name.toLowerCase().replace(/[-_.]+/g, "-"), version };
}

function readCuda(text: string): string | null {
  return /^cuda(?:\s*:[^=\n]*)?\s*=\s*["']([^"']+)["']/m.exec(text)?.[1] ?? null;
}

function readVirtualEnvironment(text: string): VirtualEnvironment {
  const values = new Map(
    text.split(/\r?\n/).map((line) => {
      const [key = "", ...value] = line.split("=");
      return [key.trim().toLowerCase(), value.join("=").trim()] as const;
    }),
  );
  const version = values.get("version") ?? values.get("version_info");
  return {
    home: values.get("home") || null,
    executable: values.get("executable") || null,
    // virtualenv adds a release level, as in 3.11.7.final.0.
    version: version === undefined ? null : (/^\d+(\.\d+)*(?:(?:a|b|rc)\d+)?/.exec(version)?.[0] ?? null),
  };
}

function readVersionConstant(text: string): string | null {
  return /^__version__\s*=\s*["']([^"']+)["']/m.exec(text)?.[1] ?? null;
}

function readProjectVersion(text: string): string | null {
  const [, section = ""] = /^\s*\[project\][ \t]*(?:#.*)?$([\s\S]*)/m.exec(text) ?? [];
  const own = section.split(/^\s*\[/m, 1)[0] ?? "";
  return /^\s*version\s*=\s*["']([^"'\n]+)["']/m.exec(own)?.[1] ?? null;
}
