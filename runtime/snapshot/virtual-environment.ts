import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { VirtualEnvironment } from "./facts";
import type { EnvironmentPlatform } from "./types";

/** What is known of the Python that a virtual environment belongs to. */
export interface Interpreter {
  /** For example `3.11.7`; `3.11` when only its folder tells; `unknown` without a virtual environment. */
  readonly version: string;
  /** Absolute path of the base interpreter; empty when nothing names one. */
  readonly path: string;
  /** SOABI. */
  readonly abi: string;
}

/** `folder`: absolute path of the virtual environment. `configuration`: what its `pyvenv.cfg` says. */
export function interpreterOf(folder: string, configuration: VirtualEnvironment | null): Interpreter {
  const library = libraryFolder(folder);
  const fromFolder = /^python(\d+\.\d+)(t?)$/.exec(library ?? "");
  const version = configuration?.version ?? fromFolder?.[1] ?? "unknown";
  return {
    version,
    path: basePath(configuration, version),
    abi: abiOf(version, fromFolder?.[2] ?? ""),
  };
}

/** The machine that this process runs on. */
export function thisMachine(): Pick<EnvironmentPlatform, "os" | "arch" | "glibc"> {
  return { os: process.platform, arch: process.arch, glibc: glibcVersion() };
}

function libraryFolder(folder: string): string | undefined {
  const libraries = join(folder, "lib");
  if (!existsSync(libraries)) return undefined;
  return readdirSync(libraries)
    .filter((name) => /^python\d+\.\d+t?$/.test(name))
    .sort()
    .at(-1);
}

function basePath(configuration: VirtualEnvironment | null, version: string): string {
  if (configuration === null) return "";
  const { executable, home } = configuration;
  if (executable !== null) return executable;
  if (home === null) return "";
  const short = version.split(".").slice(0, 2).join(".");
  const candidates = [`python${short}`, "python3", "python"].map((name) => join(home, name));
  return candidates.find((path) => existsSync(path)) ?? join(home, `python${short}`);
}

function abiOf(version: string, threading: string): string {
  const [major, minor] = version.split(".");
  if (minor === undefined) return "unknown";
  const machine = { x64: "x86_64", arm64: "aarch64" }[process.arch as string] ?? process.arch;
  const system = process.platform === "linux" ? `linux-${glibcVersion() === null ? "musl" : "gnu"}` : process.platform;
  return process.platform === "linux"
    ? `cpython-${major}${minor}${threading}-${machine}-${system}`
    : `cpython-${major}${minor}${threading}-${system}`;
}

let knownGlibc: string | null | undefined;

function glibcVersion(): string | null {
  knownGlibc ??= readGlibcVersion();
  return knownGlibc;
}

function readGlibcVersion(): string | null {
  // Its types lack the setting, without which a report looks up the names of network interfaces, which may take long.
  const report: NodeJS.ProcessReport & { excludeNetwork?: boolean } = process.report;
  const before = report.excludeNetwork ?? false;
  report.excludeNetwork = true;
  try {
    const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
    return header?.glibcVersionRuntime ?? null;
  } finally {
    report.excludeNetwork = before;
  }
}
