import { existsSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidInputError } from "../problems";
import { restore } from "../snapshot";
import {
  absoluteReference,
  isFolder,
  type StoreOptions,
  storeSettingsFrom,
  withCommonOptions,
  withStoreOptions,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { facts, type Output } from "./output";
import type { Program } from "./program";
import type { Surroundings } from "./surroundings";

interface RestoreOptions extends StoreOptions {
  readonly over?: boolean;
}

export function addRestore({ commands, surroundings, perform }: Program): void {
  withCommonOptions(withStoreOptions(commands.command("restore")))
    .summary("restore a snapshot to a new folder, or over an earlier restore")
    .description(
      "Restores a snapshot to a folder that does not exist yet or is empty, and verifies all of it on the way. With --over, the folder " +
        "may be an earlier restore that nothing uses now: only what differs is written, and what is not in the snapshot is removed.",
    )
    .argument("<reference>", "<store>#sha256:<manifest digest>, as pack and list print it")
    .argument("<target>", "folder to make")
    .option("--over", "write over an earlier restore of this machine")
    .addHelpText("after", "\nExample:\n  pulumi-comfyui restore ./.comfyui/store#sha256:0f3a... ./studio-copy\n")
    .action((reference: string, target: string, options: RestoreOptions) =>
      perform(options, (output) => restoreSnapshot({ reference, target, options }, output, surroundings)),
    );
}

/** Restores a snapshot; remarks about what was rewritten or differs here go to stderr. */
export async function restoreSnapshot(
  {
    reference,
    target,
    options = {},
  }: { readonly reference: string; readonly target: string; readonly options?: RestoreOptions },
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  const restored = await restore({
    reference: absoluteReference(reference, cwd),
    settings: storeSettingsFrom(options),
    target: options.over === true ? resolve(cwd, target) : freeTarget(target, cwd),
    over: options.over ?? false,
    progress: output.progress,
    signal,
  });
  for (const remark of restored.remarks) output.remark(remark);
  const { head, location, python, remarks } = restored;
  output.result({ root: location.root, layout: location.layout, python, id: head.summary.id, remarks }, () =>
    facts([
      ["restored to", location.root],
      ["id", head.summary.id],
      ["python", python],
    ]),
  );
  return exitCodes.done;
}

/** The engine looks again when it begins; here a target that is in use is bad input. */
function freeTarget(target: string, cwd: string): string {
  const folder = resolve(cwd, target);
  if (!existsSync(folder) || (isFolder(folder) && readdirSync(folder).length === 0)) return folder;
  throw new InvalidInputError([
    {
      path: "TARGET",
      reason: `${folder} is in use; give a folder that does not exist yet, or is empty, or --over for an earlier restore`,
    },
  ]);
}
