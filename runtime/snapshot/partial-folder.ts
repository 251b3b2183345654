import { mkdir, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { removeTree } from "../remove-tree";
import { stateOfProcess, uniqueToken } from "../store";

const ending = ".partial";

/** Makes the folder that a target is built in, beside it; removes those that killed processes left. */
export async function makePartialFolder(target: string): Promise<string> {
  await mkdir(dirname(target), { recursive: true });
  await removeAbandoned(target);
  const partial = `${target}.${uniqueToken()}${ending}`;
  await mkdir(partial);
  return partial;
}

async function removeAbandoned(target: string): Promise<void> {
  const start = `${basename(target)}.`;
  for (const name of await readdir(dirname(target))) {
    if (!name.startsWith(start) || !name.endsWith(ending)) continue;
    const token = name.slice(start.length, -ending.length);
    if (stateOfProcess(token) === "dead") await removeTree(join(dirname(target), name));
  }
}
