// Itself, and not by way of the index: a scan is over before all that would be loaded.
import { scan } from "../snapshot/scan";
import {
  environmentFrom,
  type ScanOptions,
  withCommonOptions,
  withEnvironmentOptions,
  withStoreOptions,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import type { Output } from "./output";
import type { Program } from "./program";
import { scanDocument, scanText } from "./scan-text";
import type { Surroundings } from "./surroundings";

export function addScan({ commands, surroundings, perform }: Program): void {
  const command = commands
    .command("scan")
    .summary("show an environment's id, and why it changed")
    .description(
      "Computes an environment's id and shows what it is made of. With --explain, exit code 3 when it differs from a snapshot.",
    )
    .argument("[folder]", "the environment's root", ".")
    .option("--explain [reference]", "say what differs from this snapshot, or from the newest one of --store")
    .option("--store <store>", "the store whose newest snapshot --explain compares with");
  withCommonOptions(withStoreOptions(withEnvironmentOptions(command)))
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui scan ./studio\n" +
        "  pulumi-comfyui scan ./studio --explain --store ./.comfyui/store\n" +
        "  pulumi-comfyui scan ./studio --explain ./.comfyui/store#sha256:0f3a...\n",
    )
    .action((folder: string, options: ScanOptions) =>
      perform(options, (output) => scanEnvironment(folder, options, output, surroundings)),
    );
}

/** Scans an environment; with `explain`, a difference is the answer "no". */
async function scanEnvironment(
  folder: string,
  options: ScanOptions,
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  const comparison = options.explain === undefined && options.store === undefined ? null : await import("./explain.js");
  const reference = comparison === null ? null : await comparison.comparedReference(options, output, cwd);
  if (comparison === null || reference === null) {
    const scanned = await scan({
      environment: environmentFrom(folder, cwd, options),
      models: options.models ?? "referenced",
      progress: output.progress,
      signal,
    });
    for (const remark of scanned.remarks) output.remark(remark);
    output.result(scanDocument(scanned), () => scanText(scanned));
    return exitCodes.done;
  }
  return comparison.explainScan(reference, folder, options, output, { cwd, signal });
}
