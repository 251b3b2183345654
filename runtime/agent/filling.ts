import { existsSync, lstatSync, mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { incompleteReference, readHead, restore } from "../snapshot";
import type { AgentFolders } from "./folders";
import type { Journal } from "./journal";
import { attemptsOfRequests, HopelessRestoreError, requireArchitecture, tryUntilRestored } from "./restoring";
import type { FillSource, WorkstationSpec } from "./workstation-spec";

/** What a claim may hold that is no environment: of its file system, and of this agent. */
const notOurs = new Set(["lost+found", ".comfyui"]);

/**
 * Brings the snapshot that a workstation is to begin with into a claim that has nothing. What is there is left alone, but for what an
 * earlier attempt with the same snapshot left.
 *
 * @throws {HopelessRestoreError} where another attempt would come to the same
 */
export async function fillOnce(
  source: FillSource,
  { layout }: WorkstationSpec,
  { environment: root }: AgentFolders,
  journal: Journal,
  signal: AbortSignal,
): Promise<void> {
  if (!isToBeFilled(root, source.reference)) return;
  await tryUntilRestored(journal, signal, async () => {
    const settings = { ...source.store, retries: { attempts: attemptsOfRequests } };
    const head = await readHead(source.reference, settings);
    requireArchitecture(head);
    if (JSON.stringify(Object.entries(head.layout).sort()) !== JSON.stringify(Object.entries(layout).sort())) {
      throw new HopelessRestoreError(
        `the snapshot's layout is ${JSON.stringify(head.layout)}, and the environment is declared with ${JSON.stringify(layout)}: declare that of the snapshot`,
      );
    }
    const { remarks } = await restore({
      ...{ reference: source.reference, settings, target: root, inPlace: true },
      // The interpreter is in ComfyUI's image, not in the agent's.
      usedElsewhere: true,
      progress: (message) => journal.enter("restoring", message),
      signal,
    });
    for (const remark of remarks) journal.say(remark);
    journal.say(`the claim was filled from ${source.reference}`);
  });
}

function isToBeFilled(root: string, reference: string): boolean {
  const begun = incompleteReference(root);
  // An attempt that was killed before it could write what it restores.
  if (begun !== null) return begun === "" || begun === reference;
  return !existsSync(root) || readdirSync(root).every((name) => notOurs.has(name));
}

/** Leads the environment's models to the volume that is mounted for them. @returns what a person has to do first, or null */
export function leadToModels({ models, layout }: WorkstationSpec, { environment: root }: AgentFolders): string | null {
  if (models === null) return null;
  const link = join(root, layout.models);
  const found = lstatSync(link, { throwIfNoEntry: false });
  if (found?.isSymbolicLink() === true) {
    const target = readlinkSync(link);
    if (target === models) return null;
    return `the environment's models folder ${link} is a link to ${target}, and a claim is declared for models: remove the link, or leave out pod.models`;
  }
  if (found !== undefined && !found.isDirectory()) return `${link} is a file, where models are looked for: remove it`;
  if (found !== undefined && hasFiles(link)) {
    return `the environment's models folder ${link} has files, and a claim is declared for models: move them to the claim, or leave out pod.models`;
  }
  // Folders without a file, as ComfyUI's source brings them.
  rmSync(link, { recursive: true, force: true });
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(models, link);
  return null;
}

/** Placeholders, which ComfyUI's source has in each folder for models, are none. */
function hasFiles(folder: string): boolean {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).some(
    (entry) => !entry.isDirectory() && !/^put_.*_here$/.test(entry.name),
  );
}
