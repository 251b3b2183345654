import { randomInt } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { formatDuration } from "../format";
import { isMissing } from "./files";
import { livePresence } from "./presence";
import { identify, isAlive, type ProcessIdentity } from "./processes";

/** Milliseconds for which a start waits until others have made up their minds or ended. */
const deadline = 10_000;

/** The right to look after a directory. */
export interface Lock {
  readonly identity: ProcessIdentity;
  /** False when somebody has removed its file. */
  readonly held: boolean;
  /** Makes its file again. */
  renew(): void;
  release(): void;
}

/**
 * Takes the directory's lock, or returns null when another live supervisor has it.
 *
 * Each process announces itself by a file whose name says who it is, then looks for others. Whoever sees no other live one
 * has the lock: of two that announce, the one that does so later sees the earlier. Whoever sees another withdraws. A file
 * of a dead process names nobody else, so anybody may remove it.
 */
export async function takeLock(directory: string): Promise<Lock | null> {
  const identity = identify(process.pid);
  if (identity === null)
    throw new Error(`/proc/${process.pid}/stat cannot be read: the supervisor needs Linux's /proc`);
  const own = join(directory, fileName(identity));
  const withdraw = () => rmSync(own, { force: true });
  const began = performance.now();
  for (;;) {
    announce(directory, own);
    const others = liveOthers(directory, identity);
    if (others.length === 0) {
      return {
        identity,
        get held() {
          return existsSync(own);
        },
        renew: () => announce(directory, own),
        release: withdraw,
      };
    }
    withdraw();
    const presence = livePresence(directory);
    if (presence !== null && presence.pid !== process.pid) return null;
    if (performance.now() - began > deadline) {
      const pids = others.map(({ pid }) => pid).join(", ");
      throw new Error(
        `the supervisor's lock of ${directory} is held by process ${pids}, which does not say where it answers even after ${formatDuration(deadline)}`,
      );
    }
    // By chance, so that two which see each other do not do so again.
    await delay(randomInt(10, 150));
  }
}

function announce(directory: string, file: string): void {
  for (;;) {
    // An earlier supervisor that ends removes the directory when it is empty. What is above it is not made again: somebody has removed that.
    if (!existsSync(directory)) makeFolder(directory);
    try {
      closeSync(openSync(file, "w", 0o600));
      return;
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

function liveOthers(directory: string, self: ProcessIdentity): readonly ProcessIdentity[] {
  return readdirSync(directory).flatMap((name) => {
    const identity = parse(name);
    if (identity === null || fileName(identity) === fileName(self)) return [];
    if (isAlive(identity)) return [identity];
    rmSync(join(directory, name), { force: true });
    return [];
  });
}

const fileName = ({ pid, startTime }: ProcessIdentity) => `supervisor-${pid}-${startTime.replace("/", "+")}.lock`;

function parse(name: string): ProcessIdentity | null {
  const [, pid, startTime] = /^supervisor-(\d+)-([\w-]+\+\w+)\.lock$/.exec(name) ?? [];
  return pid === undefined || startTime === undefined
    ? null
    : { pid: Number(pid), startTime: startTime.replace("+", "/") };
}
