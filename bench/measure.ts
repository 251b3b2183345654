import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

/** A whole command, each run of it a fresh process. */
export interface Command {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Its output goes nowhere, and costs nothing. */
  readonly discard?: boolean;
}

export interface Measured {
  /** Wall-clock time from the start of the process to its end. */
  readonly seconds: number;
  /** Largest resident set of the process, or of one of its children. Bytes; null without GNU time. */
  readonly peakBytes: number | null;
  /** Processor time of the process and its children, its own and the kernel's for it. Null without GNU time. */
  readonly cpuSeconds: number | null;
  readonly stdout: string;
}

/** Milliseconds after which a command counts as hung. */
const deadline = 45 * 60_000;

/** Runs a command and measures it. Throws, with the end of what it said, when it fails. */
export async function measure(command: Command, scratch: string): Promise<Measured> {
  const report = join(scratch, "peak");
  const said = join(scratch, "stderr");
  const answered = join(scratch, "stdout");
  rmSync(report, { force: true });
  const stdout = openSync(answered, "w");
  const stderr = openSync(said, "w");
  const timed = hasGnuTime()
    ? [gnuTime, "--quiet", "--format=%M %U %S", `--output=${report}`, ...command.argv]
    : command.argv;
  const [file = "", ...args] = timed;
  try {
    const started = process.hrtime.bigint();
    const child = spawn(file, args, {
      stdio: ["ignore", command.discard === true ? "ignore" : stdout, stderr],
      env: { ...process.env, ...command.env },
      ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
      timeout: deadline,
    });
    const ended = await new Promise<string | null>((done, fail) => {
      child.on("error", fail);
      child.on("exit", (code, signal) => done(code === 0 ? null : (signal ?? `exit code ${code}`)));
    });
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    if (ended !== null) {
      throw new Error(`${command.argv.join(" ")} ended with ${ended}: ${readFileSync(said, "utf8").slice(-2000)}`);
    }
    const [kibibytes, user, system] = hasGnuTime() ? readFileSync(report, "utf8").trim().split(" ").map(Number) : [];
    return {
      seconds,
      peakBytes: kibibytes === undefined ? null : kibibytes * 1024,
      cpuSeconds: user === undefined || system === undefined ? null : user + system,
      stdout: readFileSync(answered, "utf8"),
    };
  } finally {
    closeSync(stdout);
    closeSync(stderr);
  }
}

const gnuTime = "/usr/bin/time";
let found: boolean | undefined;

function hasGnuTime(): boolean {
  found ??= canOpen(gnuTime);
  return found;
}

function canOpen(path: string): boolean {
  try {
    closeSync(openSync(path, "r"));
    return true;
  } catch {
    return false;
  }
}

/** One of several commands that are measured in turn. */
export interface Contestant {
  readonly name: string;
  /** Brings things into the state that the command starts from; not measured. */
  readonly prepare?: (round: number) => Promise<void> | void;
  readonly command: (round: number) => Command;
  /** Looks at what the command left, and clears it away; not measured. */
  readonly after?: (round: number, measured: Measured) => Promise<void> | void;
}

/**
 * Measures each contestant `rounds` times, taking turns: what disturbs the machine for a while disturbs all of them.
 * Gives the runs of each by its name.
 */
export async function interleave(
  contestants: readonly Contestant[],
  rounds: number,
  scratch: string,
  say: (line: string) => void,
): Promise<ReadonlyMap<string, readonly Measured[]>> {
  const runs = new Map<string, Measured[]>(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const { name, prepare, command, after } of contestants) {
      await prepare?.(round);
      const measured = await measure(command(round), scratch);
      runs.get(name)?.push(measured);
      const peak = measured.peakBytes === null ? "" : `, ${Math.round(measured.peakBytes / 1e6)} MB`;
      const cpu = measured.cpuSeconds === null ? "" : `, CPU ${measured.cpuSeconds.toFixed(2)} s`;
      say(`  ${round + 1}/${rounds} ${name}: ${measured.seconds.toFixed(2)} s${cpu}${peak}`);
      await after?.(round, measured);
    }
  }
  return runs;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new Error("there is no median of nothing");
  return (upper + lower) / 2;
}
