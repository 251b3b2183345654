import { dirname, resolve } from "node:path";
import { formatSize } from "../format";
import { InvalidInputError } from "../problems";
import { exportSnapshot, exportToFile } from "../snapshot";
import {
  absoluteReference,
  isFolder,
  type StoreOptions,
  storeSettingsFrom,
  withCommonOptions,
  withStoreOptions,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { count, type Output } from "./output";
import type { Program } from "./program";
import type { Surroundings } from "./surroundings";

interface ExportOptions extends StoreOptions {
  readonly output?: string;
}

export function addExport({ commands, surroundings, perform }: Program): void {
  withCommonOptions(withStoreOptions(commands.command("export")))
    .summary("write a snapshot as a tar archive")
    .description(
      "Writes a snapshot as a tar archive to stdout, or to a file, and verifies all of it on the way. It holds the environment as it was " +
        "packed: nothing is rewritten for another location, as a restore does.",
    )
    .argument("<reference>", "<store>#sha256:<manifest digest>, as pack and list print it")
    .option("-o, --output <file>", "write to this file, which gets its name only when the archive is complete")
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui export ./.comfyui/store#sha256:0f3a... | ssh other-machine tar -x -C /srv/studio\n" +
        "  pulumi-comfyui export ./.comfyui/store#sha256:0f3a... --output studio.tar\n",
    )
    .action((reference: string, options: ExportOptions) =>
      perform(options, (output) => exportArchive({ reference, options }, output, surroundings)),
    );
}

/** Exports a snapshot; stdout gets the archive and nothing else, unless a file does. */
async function exportArchive(
  { reference, options }: { readonly reference: string; readonly options: ExportOptions },
  output: Output,
  { cwd, signal, stdout }: Surroundings,
): Promise<ExitCode> {
  const request = {
    reference: absoluteReference(reference, cwd),
    settings: storeSettingsFrom(options),
    progress: output.progress,
    signal,
  };
  const file = options.output === undefined ? null : fileFor(options.output, cwd);
  if (file === null) {
    if (output.json) throw badOutput("is needed with --json: stdout has the archive otherwise");
    if (stdout.columns !== null) throw badOutput("is needed, or send stdout to a file or a pipe: this is a terminal");
    const { entries, bytes } = await exportSnapshot({ ...request, write: (piece) => stdout.writeBytes(piece) });
    output.remark(`exported ${count(entries, "entry", "entries")}, ${formatSize(bytes)}`);
    return exitCodes.done;
  }
  const { head, entries, bytes } = await exportToFile({ ...request, output: file });
  output.remark(`exported ${count(entries, "entry", "entries")}, ${formatSize(bytes)}`);
  output.result({ file, entries, bytes, id: head.summary.id }, () => file);
  return exitCodes.done;
}

function fileFor(text: string, cwd: string): string {
  const file = resolve(cwd, text);
  if (isFolder(file)) throw badOutput(`${file} is a folder; give a file`);
  if (!isFolder(dirname(file))) throw badOutput(`${dirname(file)} is not a folder`);
  return file;
}

function badOutput(reason: string): InvalidInputError {
  return new InvalidInputError([{ path: "--output", reason }]);
}
