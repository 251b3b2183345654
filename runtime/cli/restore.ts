import { existsSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { formatSize } from "../format";
import { InvalidInputError, type Problem } from "../problems";
import { type RestoreLimits, restore, usualLimits } from "../snapshot";
import { sizeSchema } from "../units";
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

interface RestoreOptions extends StoreOptions, LimitOptions {
  readonly over?: boolean;
  readonly include?: readonly string[];
}

interface LimitOptions {
  readonly maxEntries?: string;
  readonly maxBytes?: string;
  readonly maxRatio?: string;
  readonly maxDepth?: string;
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
    .option("--include <pattern>", "restore only what matches, as in .gitignore; may be repeated", collect)
    .option("--max-entries <n>", `most files, folders and links (default: ${usualLimits.entries})`)
    .option("--max-bytes <size>", `most bytes of all files (default: ${formatSize(usualLimits.bytes)})`)
    .option("--max-ratio <n>", `most bytes made of one that is stored (default: ${usualLimits.ratio})`)
    .option("--max-depth <n>", `most folders within one another (default: ${usualLimits.depth})`)
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui restore ./.comfyui/store#sha256:0f3a... ./studio-copy\n" +
        "  pulumi-comfyui restore ./.comfyui/store#sha256:0f3a... ./plugin --include 'ComfyUI/custom_nodes/my-plugin/'\n",
    )
    .action((reference: string, target: string, options: RestoreOptions) =>
      perform(options, (output) => restoreSnapshot({ reference, target, options }, output, surroundings)),
    );
}

/** Restores a snapshot; remarks about what was rewritten or differs here go to stderr. */
async function restoreSnapshot(
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
    ...(options.include === undefined ? {} : { include: options.include }),
    limits: limitsFrom(options),
    progress: output.progress,
    signal,
  });
  for (const remark of restored.remarks) output.remark(remark);
  const { head, location, python, partial, remarks } = restored;
  if (partial !== null) output.remark("this is a part of the environment: it cannot be started or packed as one");
  const answer = { root: location.root, layout: location.layout, id: head.summary.id, partial, remarks };
  output.result({ ...answer, python: partial === null ? python : null }, () =>
    facts([
      ["restored to", location.root],
      [partial === null ? "id" : "part of", head.summary.id],
      partial === null ? ["python", python] : ["entries", `${partial.entries} of ${partial.of}`],
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

function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

/** What a person allows beyond the usual limits. */
function limitsFrom(options: LimitOptions): Partial<RestoreLimits> {
  const { maxEntries, maxBytes, maxRatio, maxDepth } = options;
  const problems: Problem[] = [];
  const number = (path: string, text: string | undefined) => {
    if (text !== undefined && !/^[1-9]\d{0,14}$/.test(text)) {
      problems.push({ path, reason: `${JSON.stringify(text)} is not a number of 1 or more` });
    }
    return text === undefined ? undefined : Number(text);
  };
  const size = maxBytes === undefined ? undefined : sizeSchema.safeParse(maxBytes.replace(/(?<=\d)(?=[KMGT]iB$)/, " "));
  if (size?.success === false) {
    problems.push({ path: "--max-bytes", reason: `${JSON.stringify(maxBytes)} is not a size such as "500 GiB"` });
  }
  const limits = {
    entries: number("--max-entries", maxEntries),
    bytes: size?.data,
    ratio: number("--max-ratio", maxRatio),
    depth: number("--max-depth", maxDepth),
  };
  if (problems.length > 0) throw new InvalidInputError(problems);
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}
