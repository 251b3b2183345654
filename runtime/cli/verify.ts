import { formatSize } from "../format";
import { verify } from "../snapshot";
import {
  absoluteReference,
  type StoreOptions,
  storeSettingsFrom,
  withCommonOptions,
  withStoreOptions,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { count, type Output } from "./output";
import type { Program } from "./program";
import type { Surroundings } from "./surroundings";
import { indent } from "./text";

interface VerifyOptions extends StoreOptions {
  readonly deep?: boolean;
}

export function addVerify({ commands, surroundings, perform }: Program): void {
  withCommonOptions(withStoreOptions(commands.command("verify")))
    .summary("check that a snapshot can be restored")
    .description(
      "Checks that a store has everything that a snapshot needs. Exit code 3 when something is missing or damaged.",
    )
    .argument("<reference>", "<store>#sha256:<manifest digest>")
    .option("--deep", "read and hash every byte, instead of looking at presence and sizes only")
    .addHelpText("after", "\nExample:\n  pulumi-comfyui verify --deep ./.comfyui/store#sha256:0f3a...\n")
    .action((reference: string, options: VerifyOptions) =>
      perform(options, (output) =>
        verifySnapshot({ reference, deep: options.deep ?? false, options }, output, surroundings),
      ),
    );
}

/** Verifies a snapshot; problems are the answer "no", not a failure. */
export async function verifySnapshot(
  {
    reference,
    deep,
    options = {},
  }: { readonly reference: string; readonly deep: boolean; readonly options?: StoreOptions },
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  const verification = await verify({
    reference: absoluteReference(reference, cwd),
    settings: storeSettingsFrom(options),
    deep,
    progress: output.progress,
    signal,
  });
  const { problems, packs, bytesRead } = verification;
  output.result({ ...verification, deep, healthy: problems.length === 0 }, () => {
    const looked = `${count(packs, "pack")}, ${formatSize(bytesRead)} read`;
    if (problems.length === 0) return `${verification.reference} can be restored (${looked})`;
    const found = `${verification.reference} cannot be restored: ${count(problems.length, "problem")} (${looked})`;
    return `${found}\n${indent(problems.join("\n"))}`;
  });
  return problems.length === 0 ? exitCodes.done : exitCodes.no;
}
