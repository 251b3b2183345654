import { resolve } from "node:path";
import type { ExitCode } from "../exit-codes";
import type { Output } from "../output";
import type { Surroundings } from "../surroundings";
import { conclude, type LockOutcome } from "./conclusion";
import { removeOrphans } from "./left-behind";
import { readLocks, type StackLock } from "./lock";
import { lookAtPendingNodeGroups } from "./pending-node-groups";
import { endProcess, findLeftOvers, isPulumiRun, type RunningProcess, readProcesses } from "./processes";
import { findProject } from "./project";
import { Pulumi, PulumiFailedError } from "./pulumi";
import { confirm, type Outcome, type RecoverRequest, type Recovery } from "./request";
import {
  type PendingOperation,
  parseState,
  pendingOperations,
  type StackState,
  withCreated,
  withoutPendingOperations,
} from "./state";

/** Recovers from a killed `pulumi` run. Every step finds out anew what is left to do, so that it may be cut off and repeated. */
export async function recover(request: RecoverRequest, output: Output, surroundings: Surroundings): Promise<ExitCode> {
  const cwd = resolve(surroundings.cwd, request.project);
  const project = findProject(cwd);
  const { environment, signal } = surroundings;
  const pulumi = new Pulumi({ cwd, environment, deadline: request.pulumiDeadline, signal });
  output.progress("asking pulumi for the stack");
  const stack = await pulumi.stackName(request.stack);
  const recovery: Recovery = { request, output, surroundings, project, stack, pulumi, backend: await pulumi.backend() };

  const locks = assertGone(recovery);
  const leftOvers = await endLeftOvers(recovery);
  const lock = await cancelLock(recovery, locks);
  if (lock.declined) {
    output.remark("the lock stays, and so does everything else: the run may still be under way");
    return conclude(recovery, { leftOvers, lock, pending: [], orphans: [], unseen: [] });
  }
  const { state, pending } = await clearPendingOperations(recovery);
  return conclude(recovery, { leftOvers, lock, pending, ...(await removeOrphans(recovery, state)) });
}

/** Fails while a run of this stack is alive, as far as this machine can tell. Gives the locks, or null where the backend does not show them. */
function assertGone({ project, stack, backend }: Recovery): readonly StackLock[] | null {
  const running = readProcesses().filter((candidate) => isPulumiRun(candidate, { root: project.root, stack }));
  const locks = backend.folder === null ? null : readLocks(backend.folder, { project: project.name, stack });
  const holders = (locks ?? []).filter(({ holder }) => holder === "alive");
  const pids = [...new Set([...running, ...holders].map(({ pid }) => pid))];
  if (pids.length > 0) {
    throw new Error(
      `a Pulumi run of the stack ${stack} is still under way (process ${pids.join(", ")}): wait for it, or interrupt it once ` +
        "and let it finish what it has begun; nothing was changed",
    );
  }
  return locks;
}

async function endLeftOvers({ project, request, output }: Recovery): Promise<readonly Outcome<RunningProcess>[]> {
  const outcomes: Outcome<RunningProcess>[] = [];
  for (const leftOver of await findLeftOvers(project.root)) {
    output.remark(
      `process ${leftOver.pid} has outlived the run that it belongs to${request.dryRun ? "" : ": ending it"}`,
    );
    if (!request.dryRun) await endProcess(leftOver);
    outcomes.push({ found: leftOver, done: !request.dryRun });
  }
  return outcomes;
}

async function cancelLock(recovery: Recovery, locks: readonly StackLock[] | null): Promise<LockOutcome> {
  const { request, output, pulumi, backend, stack } = recovery;
  for (const { user, host, pid, since, holder } of locks ?? []) {
    const known = holder === "gone" ? "which is gone" : "which cannot be looked at from here";
    output.remark(`the stack is locked by process ${pid} of ${user} on ${host} since ${since}, ${known}`);
  }
  if (request.dryRun || locks?.length === 0) return { locks, cancelled: false, declined: false };
  const certain = locks?.every(({ holder }) => holder === "gone") ?? false;
  const question =
    locks === null
      ? `${backend.url} does not show who has locked the stack. Is no run of ${stack} under way anywhere?`
      : `Is the run that has locked ${stack} really gone?`;
  if (!certain && !(await confirm(recovery, question))) return { locks, cancelled: false, declined: true };
  try {
    output.progress("cancelling the dead run's lock");
    await pulumi.cancel(request.stack ?? stack);
    return { locks, cancelled: true, declined: false };
  } catch (error) {
    // Where locks are not shown there may be none, which some backends call a failure. A lock would fail the import.
    if (locks !== null || !(error instanceof PulumiFailedError)) throw error;
    output.remark(`no lock was cancelled: ${error.message}`);
    return { locks, cancelled: false, declined: false };
  }
}

async function clearPendingOperations(recovery: Recovery): Promise<{
  readonly state: StackState;
  readonly pending: readonly Outcome<PendingOperation>[];
}> {
  const { request, output, pulumi } = recovery;
  output.progress("reading the stack's state");
  const state = parseState(await pulumi.exportState(request.stack));
  const pending = pendingOperations(state);
  if (pending.length > 0) output.progress("looking what became of pending operations");
  const groups = await lookAtPendingNodeGroups(state);
  for (const { operation, urn, mayBeLost } of pending) {
    output.remark(`pending: ${operation} ${urn}`);
    const reason = groups.unknown.get(urn);
    if (groups.made.has(urn)) output.remark("  it exists, and goes into the state");
    else if (reason !== undefined)
      output.remark(`  whether it exists could not be found out, so that it stays: ${reason}`);
    else if (mayBeLost) {
      output.remark("  it may exist without being in the state: look for it, and import or delete it by hand");
    }
  }
  const outcomes = (done: boolean) => pending.map((found) => ({ found, done }));
  if (pending.length === 0 || request.dryRun) return { state, pending: outcomes(false) };
  // Clearing takes all of them, also the one that nothing is known of.
  if (groups.unknown.size > 0) return { state, pending: outcomes(false) };
  output.progress("clearing pending operations");
  const settled = withoutPendingOperations(withCreated(state, groups.made));
  await pulumi.importState(request.stack, JSON.stringify(settled));
  if (groups.made.size > 0) {
    output.progress("reading what is taken into the state");
    await pulumi.refresh(request.stack, [...groups.made.keys()]);
  }
  return { state: settled, pending: outcomes(true) };
}
