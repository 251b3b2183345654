import { type ExitCode, exitCodes } from "../exit-codes";
import { count } from "../output";
import type { PlacedOrphan } from "./left-behind";
import type { StackLock } from "./lock";
import type { Orphan } from "./orphans";
import type { RunningProcess } from "./processes";
import type { Outcome, RecoverRequest, Recovery } from "./request";
import type { Unseen } from "./site";
import type { PendingOperation } from "./state";

export interface LockOutcome {
  readonly locks: readonly StackLock[] | null;
  readonly cancelled: boolean;
  readonly declined: boolean;
}

/** What a recovery has found and done. */
export interface Findings {
  readonly leftOvers: readonly Outcome<RunningProcess>[];
  readonly lock: LockOutcome;
  readonly pending: readonly Outcome<PendingOperation>[];
  readonly orphans: readonly Outcome<PlacedOrphan>[];
  readonly unseen: readonly Unseen[];
}

/** Gives the answer, and the exit code that goes with it. */
export function conclude({ request, output, project, stack, backend }: Recovery, findings: Findings): ExitCode {
  const { leftOvers, lock, pending, orphans, unseen } = findings;
  const undone =
    lock.declined ||
    (request.dryRun && (lock.locks ?? []).length > 0) ||
    unseen.length > 0 ||
    [...leftOvers, ...pending, ...orphans.filter(({ found }) => !isTakenOver(found, request))].some(
      ({ done }) => !done,
    );
  output.result(
    {
      project: project.name,
      stack,
      backend: backend.url,
      dryRun: request.dryRun,
      recovered: !undone,
      leftOvers: leftOvers.map(({ found, done }) => ({ pid: found.pid, ended: done })),
      lock: { locks: lock.locks, cancelled: lock.cancelled },
      pendingOperations: pending.map(({ found, done }) => ({ ...found, cleared: done })),
      unseen,
      orphans: orphans.map(({ found, done, error }) => ({ ...found, removed: done, ...(error ? { error } : {}) })),
    },
    () => summary(findings, request.dryRun, undone),
  );
  if (unseen.length > 0 || orphans.some(({ error }) => error !== undefined)) return exitCodes.failed;
  return undone ? exitCodes.no : exitCodes.done;
}

/** Traffic whose switch nobody knows is no harm: the next run moves it. */
function isTakenOver({ kind }: Orphan, { includeServing }: RecoverRequest): boolean {
  return kind === "traffic" && !includeServing;
}

function summary({ leftOvers, lock, pending, orphans }: Findings, dryRun: boolean, undone: boolean): string {
  const removed = orphans.filter(({ done }) => done).length;
  const parts = [
    leftOvers.length > 0 && count(leftOvers.length, "left-over process", "left-over processes"),
    (lock.cancelled || (lock.locks ?? []).length > 0) && (lock.cancelled ? "the lock cancelled" : "a lock"),
    pending.length > 0 && `${count(pending.length, "pending operation")}${dryRun ? "" : " cleared"}`,
    orphans.length > 0 && `${count(orphans.length, "orphan")}${dryRun ? "" : `, ${removed} removed`}`,
  ].filter((part) => part !== false);
  if (parts.length === 0) return "Nothing to recover. Run pulumi up.";
  const next = dryRun
    ? "Nothing was changed: run again without --dry-run."
    : undone
      ? "Something is left: see above, then run recover again."
      : "Run pulumi up.";
  return `${dryRun ? "Found" : "Recovered"}: ${parts.join("; ")}. ${next}`;
}
