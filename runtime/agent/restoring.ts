import { existsSync, lstatSync, readlinkSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pause } from "../bell";
import { formatDuration, formatSize } from "../format";
import { isFullDisk } from "../full-disk";
import { demandModels, linkModels, MissingModelsError, type RestoredInstance, restoredSchema } from "../instance";
import { type ManifestHead, readHead, restore } from "../snapshot";
import { S3Error } from "../store";
import { type AgentFolders, launcherFiles } from "./folders";
import type { InstanceSpec } from "./instance-spec";
import type { Journal } from "./journal";
import { readShared, writeShared } from "./shared-files";

/** Milliseconds before the second attempt; each further pause is twice as long, up to the longest. */
const firstPause = 1_000;
const longestPause = 60_000;
/** Attempts after which an error that is not known to pass is taken as one that does not. */
const mostAttempts = 5;

/** Attempts of one request to a bucket, some seconds together: less than usual, since the restore itself is tried again and says so. */
export const attemptsOfRequests = 6;

/** A snapshot that cannot be restored here, however often it is tried. */
export class HopelessRestoreError extends Error {
  override readonly name = "HopelessRestoreError";
}

/**
 * The environment of an instance, restored once in a pod's life: an agent that was killed on the way goes on. What may go better the next
 * time, a network that is down say, is tried again for ever.
 *
 * @throws {HopelessRestoreError} where it will not
 */
export async function restoreOnce(
  spec: InstanceSpec,
  folders: AgentFolders,
  journal: Journal,
  signal: AbortSignal,
): Promise<RestoredInstance> {
  const known = readShared(launcherFiles(folders).restored, restoredSchema);
  if (known !== null && existsSync(folders.environment)) {
    await provideModels(spec, known);
    return known;
  }
  return tryUntilRestored(journal, signal, async () => {
    const restored = await attemptRestore(spec, folders, journal, signal);
    for (const remark of restored.remarks) journal.say(remark);
    return restored;
  });
}

/**
 * Tries again, with growing pauses and for ever, what may go better the next time.
 * @throws {HopelessRestoreError} where it will not
 */
export async function tryUntilRestored<T>(
  journal: Journal,
  signal: AbortSignal,
  restoreIt: () => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      journal.enter("restoring", "looking at the snapshot");
      return await restoreIt();
    } catch (error) {
      signal.throwIfAborted();
      const outlook = outlookOf(error);
      if (outlook === "hopeless" || (outlook === "doubtful" && attempt >= mostAttempts)) {
        throw new HopelessRestoreError(reasonOf(error), { cause: error });
      }
      const milliseconds = Math.min(longestPause, firstPause * 2 ** Math.min(attempt - 1, 10));
      const text = `attempt ${attempt} failed, the next one is in ${formatDuration(milliseconds)}: ${reasonOf(error)}`;
      journal.enter("restoring", text);
      journal.say(text);
      await pause(milliseconds, signal);
      signal.throwIfAborted();
    }
  }
}

async function attemptRestore(
  spec: InstanceSpec,
  folders: AgentFolders,
  journal: Journal,
  signal: AbortSignal,
): Promise<RestoredInstance> {
  const settings = { ...spec.store, retries: { attempts: attemptsOfRequests } };
  const reference = spec.snapshot;
  const head = await readHead(reference, settings);
  requireArchitecture(head);
  requireRoom(head, spec.storage);
  // Before gigabytes are written for nothing.
  demandModels(head.models, spec.models);
  const { location, python, remarks } = await restore({
    reference,
    settings,
    target: folders.environment,
    inPlace: true,
    // The interpreter is in ComfyUI's image, not in the agent's.
    usedElsewhere: true,
    ...(spec.nodeCache === undefined ? {} : { nodeCache: spec.nodeCache }),
    progress: (message) => journal.enter("restoring", message),
    signal,
  });
  const restored = { location, python, plugins: head.plugins, models: head.models, remarks };
  requireInterpreter(restored);
  await provideModels(spec, restored);
  writeShared(launcherFiles(folders).restored, JSON.stringify(restored), 0o600);
  return restored;
}

async function provideModels(spec: InstanceSpec, { models, location }: RestoredInstance): Promise<void> {
  const folder = demandModels(models, spec.models);
  const own = join(location.root, location.layout.models);
  // Without a volume and without recorded models there is nothing to lead to.
  if (folder === null || (spec.models === null && !existsSync(folder)) || resolve(folder) === own) return;
  await linkModels(location, folder);
}

/** The containers of a pod run on the same machine. */
export function requireArchitecture({ platform }: ManifestHead): void {
  if (platform.os === process.platform && platform.arch === process.arch) return;
  throw new HopelessRestoreError(
    `the snapshot was made on ${platform.os}/${platform.arch}, and this node is ${process.platform}/${process.arch}: its compiled packages ` +
      "do not load; give the instances nodes of the snapshot's kind",
  );
}

/** Said before anything is written: the kubelet would evict the pod in the middle of the restore, and another one after it. */
function requireRoom({ summary }: ManifestHead, storage: number | undefined): void {
  if (storage === undefined || summary.bytes < storage) return;
  throw new HopelessRestoreError(
    `the environment's files take ${formatSize(summary.bytes)}, and pod.storage gives the pod ${formatSize(storage)} for them and for all ` +
      "that ComfyUI writes: raise pod.storage",
  );
}

/** An interpreter that travels has to be there; one that lies outside is in ComfyUI's image, where the agent does not see it. */
function requireInterpreter({ python, location }: RestoredInstance): void {
  const outside = interpreterOutside(python, location.root);
  if (outside !== null || existsSync(python)) return;
  throw new HopelessRestoreError(
    `the restored environment has no interpreter: ${python} is missing, or leads to nothing; restore a snapshot of a complete environment`,
  );
}

/** Where an environment's interpreter finally leads outside of it, or null where it is inside or missing. */
export function interpreterOutside(python: string, root: string): string | null {
  let path = python;
  // Links as they are followed by the kernel, which gives up after forty.
  for (let links = 0; links < 40; links++) {
    if (!path.startsWith(`${root}/`)) return path;
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return null;
    path = resolve(dirname(path), readlinkSync(path));
  }
  return null;
}

type Outlook = "hopeless" | "doubtful" | "passes";

/** By name, since some of them come from threads, which pass on nothing else. */
const hopeless = new Set([
  "SnapshotNotFoundError",
  "DamagedSnapshotError",
  "DamagedObjectError",
  "RestoreRefusedError",
]);
/** Of the network and of network file systems. */
const passing = new Set([
  ...["ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EPIPE", "ETIMEDOUT", "ENETDOWN", "ENETUNREACH", "EHOSTUNREACH"],
  ...["EAI_AGAIN", "ENOTFOUND", "EIO", "ESTALE", "EREMOTEIO"],
]);

/** Whether another attempt may go better. */
export function outlookOf(error: unknown): Outlook {
  if (isFullDisk(error) || error instanceof HopelessRestoreError || error instanceof MissingModelsError)
    return "hopeless";
  for (let at = error; at instanceof Error; at = at.cause) {
    if (hopeless.has(at.name)) return "hopeless";
    if (at instanceof S3Error && at.kind !== "refused" && at.kind !== "missing") return "passes";
    if (passing.has(String((at as { code?: unknown }).code))) return "passes";
  }
  // A role that was given a moment ago is refused at first, for example.
  return "doubtful";
}

export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined || error instanceof S3Error
    ? error.message
    : `${error.message} (${reasonOf(error.cause)})`;
}
