import { formatSize } from "../format";
import { type Verification, verify, verifyStore } from "../snapshot";
import {
  absoluteReference,
  existingStore,
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
    .summary("check that a snapshot, or every one of a store, can be restored")
    .description(
      "Checks that a store has everything that a snapshot, or each of its snapshots, needs. Exit code 3 when something is missing or damaged.",
    )
    .argument("<reference or store>", "<store>#sha256:<manifest digest>, or a store for all of its snapshots")
    .option("--deep", "read and hash every byte, instead of looking at presence and sizes only")
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui verify --deep ./.comfyui/store#sha256:0f3a...\n  pulumi-comfyui verify ./.comfyui/store\n",
    )
    .action((text: string, options: VerifyOptions) =>
      perform(options, (output) => {
        const deep = options.deep ?? false;
        return text.includes("#")
          ? verifySnapshot({ reference: text, deep, options }, output, surroundings)
          : verifyWhole({ store: text, deep, options }, output, surroundings);
      }),
    );
}

/** Verifies a snapshot; problems are the answer "no", not a failure. */
async function verifySnapshot(
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
  const healthy = verification.problems.length === 0;
  output.result({ ...verification, deep, healthy }, () => textOf(verification));
  return healthy ? exitCodes.done : exitCodes.no;
}

/** Verifies every snapshot of a store. */
async function verifyWhole(
  { store, deep, options = {} }: { readonly store: string; readonly deep: boolean; readonly options?: StoreOptions },
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  const location = existingStore(store, cwd);
  const settings = storeSettingsFrom(options);
  const verification = await verifyStore({ store: location, settings, deep, progress: output.progress, signal });
  const { snapshots, bytesRead } = verification;
  const unhealthy = snapshots.filter(({ problems }) => problems.length > 0);
  if (snapshots.length === 0) output.remark(`no snapshot in ${location}`);
  output.result({ ...verification, deep, healthy: unhealthy.length === 0 }, () => {
    const well = `${snapshots.length - unhealthy.length} of ${count(snapshots.length, "snapshot")} can be restored`;
    return [...unhealthy.map(textOf), `${well} (${formatSize(bytesRead)} read)`].join("\n");
  });
  return unhealthy.length === 0 ? exitCodes.done : exitCodes.no;
}

function textOf({ reference, problems, packs, bytesRead }: Verification): string {
  const looked = `${count(packs, "pack")}, ${formatSize(bytesRead)} read`;
  if (problems.length === 0) return `${reference} can be restored (${looked})`;
  const found = `${reference} cannot be restored: ${count(problems.length, "problem")} (${looked})`;
  return `${found}\n${indent(problems.join("\n"))}`;
}
