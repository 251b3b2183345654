import { formatSize } from "../format";
import { listSnapshots } from "../snapshot";
import {
  existingStore,
  type StoreOptions,
  storeSettingsFrom,
  withCommonOptions,
  withStoreOptions,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { type Output, table } from "./output";
import type { Program } from "./program";
import type { Surroundings } from "./surroundings";
import { localTime, shortId } from "./text";

export function addList({ commands, surroundings, perform }: Program): void {
  withCommonOptions(withStoreOptions(commands.command("list")))
    .summary("list a store's snapshots")
    .description("Lists the snapshots of a store, the newest first.")
    .argument("<store>", "the store: a folder, or s3://bucket/prefix")
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui list ./.comfyui/store\n" +
        "  pulumi-comfyui list ./.comfyui/store --json | jq -r '.snapshots[0].reference'\n",
    )
    .action((store: string, options: StoreOptions) =>
      perform(options, (output) => listStore(store, output, surroundings, options)),
    );
}

/** Lists a store; an empty one is no failure, and a damaged manifest hides no other. */
async function listStore(
  store: string,
  output: Output,
  { cwd }: Surroundings,
  options: StoreOptions = {},
): Promise<ExitCode> {
  const folder = existingStore(store, cwd);
  const snapshots = await listSnapshots(folder, (problem) => output.remark(problem), storeSettingsFrom(options));
  if (snapshots.length === 0) output.remark(`no snapshot in ${folder}`);
  output.result({ store: folder, snapshots }, () =>
    snapshots.length === 0
      ? ""
      : table(
          ["STORED", "ID", "COMFYUI", "PYTHON", "PLUGINS", "FILES", "SIZE", "REFERENCE"],
          snapshots.map(({ storedAt, reference, summary }) => [
            localTime(storedAt),
            shortId(summary.id),
            summary.comfyui,
            summary.python,
            Object.keys(summary.plugins).length,
            summary.files,
            formatSize(summary.bytes),
            reference,
          ]),
        ),
  );
  return exitCodes.done;
}
