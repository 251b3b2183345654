import { lstatSync, mkdirSync, renameSync, statSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import type { EnvironmentLocation } from "../environment";
import { formatSize } from "../format";
import { removeTree } from "../remove-tree";
import type { RestoredInstance } from "./restored";

/** How many files a message names. */
const mostNamed = 10;

/** The models that a snapshot recorded are not all where they are looked for. Names what is wrong. */
export class MissingModelsError extends Error {
  override readonly name = "MissingModelsError";
}

/**
 * The folder that holds an instance's models, or null when they travelled with the snapshot. Fails when a recorded file is not
 * there or has another size: a workflow that needs it would otherwise be refused only when a user sends it.
 */
export function demandModels(models: RestoredInstance["models"], declared: string | null): string | null {
  const folder = declared ?? (models.mode === "included" ? null : models.root);
  if (folder === null) return null;
  const problems = models.files.flatMap(({ path, size }) => {
    const found = sizeOf(join(folder, path));
    if (found === null) return [`${path} is missing`];
    return found === size
      ? []
      : [`${path} has ${found} bytes (${formatSize(found)}) instead of ${size} (${formatSize(size)})`];
  });
  if (problems.length === 0) return folder;
  const more = problems.length > mostNamed ? ` and ${problems.length - mostNamed} more` : "";
  throw new MissingModelsError(
    `${folder} does not hold the models that the snapshot recorded: ${problems.slice(0, mostNamed).join("; ")}${more}`,
  );
}

/** Makes the environment's models folder a link to the given one. Everything of the environment is the instance's own copy. */
export async function linkModels(location: EnvironmentLocation, folder: string): Promise<void> {
  const link = join(location.root, location.layout.models);
  if (folder === link) return;
  mkdirSync(dirname(link), { recursive: true });
  const temporary = `${link}.link`;
  await removeTree(temporary);
  symlinkSync(folder, temporary);
  if (isFolder(link)) await removeTree(link);
  renameSync(temporary, link);
}

function isFolder(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function sizeOf(path: string): number | null {
  try {
    return statSync(path).size;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw error;
  }
}
