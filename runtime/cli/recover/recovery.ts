import { resolve } from "node:path";
import { connectSupervisor, type Owner, type SupervisorClient } from "../../supervisor";
import { isFolder } from "../common-options";
import { type ExitCode, exitCodes } from "../exit-codes";
import { describeFailure } from "../failure";
import { count, type Output } from "../output";
import { findDirectory } from "../platform-directory";
import { viewPlatform } from "../platform-view";
import type { Surroundings } from "../surroundings";
import { readLocks, type StackLock } from "./lock";
import { findOrphans, nameOf, type Orphan } from "./orphans";
import { endProcess, findLeftOvers, isPulumiRun, type RunningProcess, readProcesses } from "./processes";
import { findProject, type Project } from "./project";
import { Pulumi, PulumiFailedError } from "./pulumi";
import { removeOrphan } from "./removal";
import {
  canonicalDirectory,
  knownObjects,
  type PendingOperation,
  parseState,
  pendingOperations,
  type StackState,
  withoutPendingOperations,
} from "./state";

export interface RecoverRequest {
  /** The project's folder, relative to the current one. */
  readonly project: string;
  /** As `pulumi --stack` takes it; the selected one without it. */
  readonly stack?: string | undefined;
  /** A platform's folder besides those that the state names. */
  readonly directory?: string | undefined;
  /** Takes every question as answered with yes. */
  readonly yes: boolean;
  readonly dryRun: boolean;
  /** Removes also what serves users. */
  readonly includeServing: boolean;
  /** Milliseconds for one call of `pulumi`. */
  readonly pulumiDeadline: number;
}

interface Recovery {
  readonly request: RecoverRequest;
  readonly output: Output;
  readonly surroundings: Surroundings;
  readonly project: Project;
  /** Without organisation and project. */
  readonly stack: string;
  readonly pulumi: Pulumi;
  readonly backend: { readonly url: string; readonly folder: string | null };
}

/** One thing that was found, and what became of it. */
interface Outcome<T> {
  readonly found: T;
  readonly done: boolean;
  readonly error?: string;
}

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
    return conclude(recovery, { leftOvers, lock, pending: [], orphans: [] });
  }
  const { state, pending } = await clearPendingOperations(recovery);
  const orphans = await removeOrphans(recovery, state);
  return conclude(recovery, { leftOvers, lock, pending, orphans });
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

interface LockOutcome {
  readonly locks: readonly StackLock[] | null;
  readonly cancelled: boolean;
  readonly declined: boolean;
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

async function clearPendingOperations({ request, output, pulumi }: Recovery): Promise<{
  readonly state: StackState;
  readonly pending: readonly Outcome<PendingOperation>[];
}> {
  output.progress("reading the stack's state");
  const state = parseState(await pulumi.exportState(request.stack));
  const pending = pendingOperations(state);
  for (const { operation, urn, mayBeLost } of pending) {
    output.remark(`pending: ${operation} ${urn}`);
    if (mayBeLost) {
      output.remark("  it may exist without being in the state: look for it, and import or delete it by hand");
    }
  }
  if (pending.length > 0 && !request.dryRun) {
    output.progress("clearing pending operations");
    await pulumi.importState(request.stack, JSON.stringify(withoutPendingOperations(state)));
  }
  return { state, pending: pending.map((found) => ({ found, done: !request.dryRun })) };
}

async function removeOrphans(recovery: Recovery, state: StackState): Promise<readonly Outcome<Orphan>[]> {
  const { request, output, surroundings } = recovery;
  const orphans = await listOrphans(recovery, state);
  for (const orphan of orphans) {
    const serving = orphan.serves ? "; it serves users" : "";
    output.remark(`no resource knows ${nameOf(orphan)} in ${orphan.directory} (${orphan.detail}${serving})`);
  }
  const removable = orphans.filter(({ serves }) => request.includeServing || !serves);
  if (removable.length < orphans.length) {
    output.remark("what serves users stays: run pulumi up first, which moves the traffic, or use --include-serving");
  }
  const confirmed =
    removable.length > 0 && !request.dryRun && (await confirm(recovery, `Remove ${removable.map(nameOf).join(", ")}?`));
  const supervisors = new Map<string, SupervisorClient>();
  const outcomes: Outcome<Orphan>[] = [];
  for (const found of orphans) {
    if (!confirmed || !removable.includes(found)) {
      outcomes.push({ found, done: false });
      continue;
    }
    try {
      const supervisor = supervisors.get(found.directory) ?? (await connectSupervisor(found.directory));
      supervisors.set(found.directory, supervisor);
      output.progress(`removing ${nameOf(found)}`);
      await removeOrphan(found, supervisor, { progress: output.progress, signal: surroundings.signal });
      outcomes.push({ found, done: true });
    } catch (error) {
      surroundings.signal.throwIfAborted();
      const { message } = describeFailure(error);
      output.remark(`${nameOf(found)} could not be removed: ${message}`);
      outcomes.push({ found, done: false, error: message });
    }
  }
  return outcomes;
}

async function listOrphans(
  { request, output, surroundings, project, stack, backend }: Recovery,
  state: StackState,
): Promise<readonly Orphan[]> {
  const known = knownObjects(state, project.programFolder);
  const nearest = findDirectory(request.directory, request.directory ? surroundings.cwd : project.programFolder);
  const directories = new Set(known.directories);
  if (nearest !== null) directories.add(canonicalDirectory(nearest, "/"));
  const orphans: Orphan[] = [];
  for (const directory of directories) {
    if (!isFolder(directory)) {
      output.remark(`${directory} is not on this machine: what is left there can only be found where it is`);
      continue;
    }
    output.progress(`looking for what is left in ${directory}`);
    const isOwn = (owner: Owner) => isOwner(owner, { request, project, stack, backend });
    orphans.push(...findOrphans(await viewPlatform(directory), known, isOwn));
  }
  return orphans;
}

/** Whether a platform's owner is the stack; by the organisation too, wherever it can be told. */
function isOwner(
  owner: Owner,
  { request, project, stack, backend }: Pick<Recovery, "request" | "project" | "stack" | "backend">,
): boolean {
  const [organization, , rest] = request.stack?.split("/") ?? [];
  // Backends that are not Pulumi Cloud have one organisation, of this name.
  const own = rest !== undefined ? organization : backend.folder !== null ? "organization" : undefined;
  return owner.project === project.name && owner.stack === stack && (own === undefined || owner.organization === own);
}

async function confirm({ request, output, surroundings }: Recovery, question: string): Promise<boolean> {
  if (request.yes) return true;
  if (surroundings.ask === null) {
    output.remark(`${question} Nobody can answer here: run again with --yes, or at a terminal`);
    return false;
  }
  output.clearProgress();
  return /^\s*y(es)?\s*$/i.test(await surroundings.ask(`${question} [y/N] `));
}

interface Findings {
  readonly leftOvers: readonly Outcome<RunningProcess>[];
  readonly lock: LockOutcome;
  readonly pending: readonly Outcome<PendingOperation>[];
  readonly orphans: readonly Outcome<Orphan>[];
}

function conclude({ request, output, project, stack, backend }: Recovery, findings: Findings): ExitCode {
  const { leftOvers, lock, pending, orphans } = findings;
  const undone =
    lock.declined ||
    (request.dryRun && (lock.locks ?? []).length > 0) ||
    [...leftOvers, ...pending, ...orphans].some(({ done }) => !done);
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
      orphans: orphans.map(({ found, done, error }) => ({ ...found, removed: done, ...(error ? { error } : {}) })),
    },
    () => summary(findings, request.dryRun, undone),
  );
  if (orphans.some(({ error }) => error !== undefined)) return exitCodes.failed;
  return undone ? exitCodes.no : exitCodes.done;
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
