import { spawnSync } from "node:child_process";

/** A program that is measured against, or that measures. */
interface Program {
  readonly name: string;
  readonly versionArgument: string;
  /** Debian's package. */
  readonly package: string;
}

const programs = [
  { name: "restic", versionArgument: "version", package: "restic" },
  { name: "borg", versionArgument: "--version", package: "borgbackup" },
  { name: "zstd", versionArgument: "--version", package: "zstd" },
  { name: "tar", versionArgument: "--version", package: "tar" },
  { name: "find", versionArgument: "--version", package: "findutils" },
  { name: "cp", versionArgument: "--version", package: "coreutils" },
  { name: "sha256sum", versionArgument: "--version", package: "coreutils" },
  { name: "/usr/bin/time", versionArgument: "--version", package: "time" },
] as const satisfies readonly Program[];

export type Competitor = (typeof programs)[number]["name"];

/** Version lines of the programs that are there. */
export type Competitors = ReadonlyMap<Competitor, string>;

/**
 * Installs what is missing where this may be done (root on a system with apt-get), and says what is missing where not.
 * Metrics that need a program which is not there are unmet.
 */
export function provideCompetitors(say: (line: string) => void): Competitors {
  const absent = programs.filter(({ name, versionArgument }) => versionOf(name, versionArgument) === null);
  if (absent.length > 0) {
    const packages = [...new Set(absent.map((program) => program.package))];
    if (process.getuid?.() === 0 && versionOf("apt-get", "--version") !== null) install(packages, say);
    else say(`missing: ${packages.join(", ")}; to have them: sudo apt-get install ${packages.join(" ")}`);
  }
  return new Map(
    programs.flatMap(({ name, versionArgument }): [Competitor, string][] => {
      const version = versionOf(name, versionArgument);
      return version === null ? [] : [[name, version]];
    }),
  );
}

function install(packages: readonly string[], say: (line: string) => void): void {
  say(`installing ${packages.join(", ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  for (const args of [["update"], ["install", "--yes", "--no-install-recommends", ...packages]]) {
    const { status, stderr } = spawnSync("apt-get", ["--quiet", ...args], {
      stdio: ["ignore", "ignore", "pipe"],
      encoding: "utf8",
      env,
    });
    if (status !== 0) say(`apt-get ${args[0]} failed: ${stderr.slice(-500)}`);
  }
}

function versionOf(name: string, argument: string): string | null {
  const { status, stdout, stderr } = spawnSync(name, [argument], { encoding: "utf8" });
  if (status !== 0) return null;
  return (stdout || stderr).split("\n")[0]?.trim() ?? "";
}
