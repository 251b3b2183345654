import type { PluginRecord } from "../environment";
import { formatSize } from "../format";
import { InvalidInputError } from "../problems";
import { pack } from "../snapshot";
import {
  type EnvironmentOptions,
  environmentFrom,
  type StoreOptions,
  storeLocation,
  storeSettingsFrom,
  withCommonOptions,
  withEnvironmentOptions,
  withStoreOptions,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { count, type Output } from "./output";
import { requireDirectory } from "./platform-directory";
import type { Program } from "./program";
import type { Surroundings } from "./surroundings";

interface PackOptions extends EnvironmentOptions, StoreOptions {
  readonly store: string;
  readonly platform?: string;
  readonly workstation?: string;
}

export function addPack({ commands, surroundings, perform }: Program): void {
  const command = commands
    .command("pack")
    .summary("pack an environment into a store as an immutable snapshot")
    .description(
      "Packs what a store lacks of an environment and prints the snapshot's reference, which a program can pin.",
    )
    .argument("<folder>", "the environment's root")
    .requiredOption("--store <store>", "the store: a folder, made where it is missing, or s3://bucket/prefix")
    .option("--platform <directory>", "the local platform whose workstation knows how the plugins behave")
    .option("--workstation <name>", "the workstation there; may be left out when one has this environment");
  withCommonOptions(withStoreOptions(withEnvironmentOptions(command)))
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui pack ./studio --store ./.comfyui/store\n" +
        "  pulumi-comfyui pack ./studio --store ./.comfyui/store --platform .comfyui --workstation studio\n",
    )
    .action((folder: string, options: PackOptions) =>
      perform(options, (output) => packEnvironment(folder, options, output, surroundings)),
    );
}

/** Packs an environment; stdout gets the reference and nothing else. */
export async function packEnvironment(
  folder: string,
  options: PackOptions,
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  const environment = environmentFrom(folder, cwd, options);
  const plugins = await baselines(options, environment.root, cwd);
  if (plugins.length === 0) {
    output.remark("no workstation's plugin records: where this snapshot starts, every plugin has to load");
  }
  const packed = await pack({
    environment,
    models: options.models ?? "referenced",
    store: storeLocation(options.store, cwd, "--store"),
    settings: storeSettingsFrom(options),
    plugins,
    progress: output.progress,
    signal,
  });
  const { reference, digest, head, bytesAdded, bytesStored } = packed;
  const known = head.plugins.filter(({ baseline }) => baseline !== null).length;
  output.remark(
    `packed ${count(head.summary.files, "entry", "entries")}, ${formatSize(head.summary.bytes)}; new to the store: ` +
      `${formatSize(bytesAdded)}, stored as ${formatSize(bytesStored)}; ` +
      `${count(head.plugins.length, "plugin")}, ${known} with a record of its last start`,
  );
  output.result(
    { reference, digest, bytesAdded, bytesStored, summary: head.summary, plugins: head.plugins },
    () => reference,
  );
  return exitCodes.done;
}

/** How a workstation's plugins behaved at its last start, from the records that a supervisor keeps. */
async function baselines(options: PackOptions, root: string, cwd: string): Promise<readonly PluginRecord[]> {
  const { platform, workstation: name } = options;
  if (platform === undefined) {
    if (name === undefined) return [];
    throw new InvalidInputError([{ path: "--workstation", reason: "needs --platform, the directory that it is in" }]);
  }
  const directory = requireDirectory(platform, cwd, "--platform");
  // Without a platform, a pack of little that is new is nearly over before it would have been loaded.
  const { readWorkstationRecords } = await import("../supervisor/index.js");
  const all = readWorkstationRecords(directory);
  const fitting = all.filter((record) =>
    name === undefined ? record.declaration.root === root : record.name === name,
  );
  const [record] = fitting;
  if (record === undefined || fitting.length > 1) {
    const known = all.map((each) => `${each.name} (${each.declaration.root})`).join(", ") || "none";
    const wanted = name === undefined ? `with the environment ${root}` : `called ${name}`;
    throw new InvalidInputError([
      { path: "--workstation", reason: `${directory} has ${fitting.length} workstations ${wanted}; it has: ${known}` },
    ]);
  }
  return record.plugins ?? [];
}
