import type { EnvironmentLocation, Layout } from "../environment";
import { InvalidInputError } from "../problems";
import {
  type Difference,
  explainDifference,
  listSnapshots,
  type ModelsMode,
  readCounted,
  readHead,
  type Scan,
  scan,
} from "../snapshot";
import { formatSize } from "../units";
import {
  absoluteReference,
  type EnvironmentOptions,
  environmentFrom,
  existingStore,
  withCommonOptions,
  withEnvironmentOptions,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { facts, type Output, table } from "./output";
import type { Program } from "./program";
import type { Surroundings } from "./surroundings";
import { indent } from "./text";

interface ScanOptions extends EnvironmentOptions {
  /** True without a reference. */
  readonly explain?: string | true;
  readonly store?: string;
}

export function addScan({ commands, surroundings, perform }: Program): void {
  const command = commands
    .command("scan")
    .summary("show an environment's id, and why it changed")
    .description(
      "Computes an environment's id and shows what it is made of. With --explain, exit code 3 when it differs from a snapshot.",
    )
    .argument("[folder]", "the environment's root", ".")
    .option("--explain [reference]", "say what differs from this snapshot, or from the newest one of --store")
    .option("--store <folder>", "the store whose newest snapshot --explain compares with");
  withCommonOptions(withEnvironmentOptions(command))
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
export async function scanEnvironment(
  folder: string,
  options: ScanOptions,
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  const reference = await comparedReference(options, output, cwd);
  if (reference === null) {
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
  return explain(reference, folder, options, output, { cwd, signal });
}

async function explain(
  reference: string,
  folder: string,
  options: ScanOptions,
  output: Output,
  { cwd, signal }: Pick<Surroundings, "cwd" | "signal">,
): Promise<ExitCode> {
  const head = await readHead(reference);
  // What the snapshot was made with is the fair comparison, unless the person asks for something else.
  const environment = environmentFrom(folder, cwd, options, head.layout);
  const models = options.models ?? head.models.mode;
  remarkOnSettings({ environment, models }, { layout: head.layout, models: head.models.mode }, output);
  const scanned = await scan({ environment, models, progress: output.progress, signal });
  for (const remark of scanned.remarks) output.remark(remark);
  const changed = scanned.summary.id !== head.summary.id;
  const differences = changed ? explainDifference(await readCounted(reference), scanned.counted) : [];
  output.result(
    { ...scanDocument(scanned), comparedWith: reference, comparedId: head.summary.id, changed, differences },
    () =>
      changed
        ? `${scanned.summary.id} differs from ${head.summary.id} (${reference}):\n${indent(differencesText(differences))}`
        : `${scanned.summary.id} is unchanged since ${reference}`,
  );
  return changed ? exitCodes.no : exitCodes.done;
}

async function comparedReference({ explain, store }: ScanOptions, output: Output, cwd: string): Promise<string | null> {
  if (explain === undefined) {
    if (store === undefined) return null;
    throw new InvalidInputError([{ path: "--store", reason: "goes with --explain" }]);
  }
  if (explain !== true) {
    if (explain.includes("#")) return absoluteReference(explain, cwd, "--explain");
    throw new InvalidInputError([
      {
        path: "--explain",
        reason: `${explain} is not a reference like <store>#sha256:<digest>; the folder goes before --explain`,
      },
    ]);
  }
  if (store === undefined) {
    throw new InvalidInputError([
      { path: "--explain", reason: "needs a reference, or --store to compare with its newest snapshot" },
    ]);
  }
  const folder = existingStore(store, cwd);
  const [newest] = await listSnapshots(folder, (problem) => output.remark(problem));
  if (newest === undefined) {
    throw new InvalidInputError([{ path: "--store", reason: `${folder} has no snapshot to compare with` }]);
  }
  return newest.reference;
}

/** The columns line up, and a path with spaces stays readable since it comes last. */
function differencesText(differences: readonly Difference[]): string {
  return table(
    ["CHANGE", "WHAT", "PATH"],
    differences.map(({ change, what, path }) => [change, what, path]),
  );
}

function remarkOnSettings(
  { environment, models }: { readonly environment: EnvironmentLocation; readonly models: ModelsMode },
  snapshot: { readonly layout: Layout; readonly models: ModelsMode },
  output: Output,
): void {
  if (models !== snapshot.models) {
    output.remark(`models are ${models} here and ${snapshot.models} in the snapshot: that alone changes the id`);
  }
  for (const part of Object.keys(snapshot.layout) as (keyof Layout)[]) {
    if (environment.layout[part] !== snapshot.layout[part]) {
      output.remark(`${part} is ${environment.layout[part]} here and ${snapshot.layout[part]} in the snapshot`);
    }
  }
}

function scanDocument({ summary, pluginHashes, bytesRead, remarks }: Scan) {
  return { ...summary, pluginHashes, bytesRead, remarks };
}

function scanText({ summary, bytesRead }: Scan): string {
  const { id, comfyui, python, files, bytes, plugins, distributions } = summary;
  const head = facts([
    ["id", id],
    ["comfyui", comfyui],
    ["python", python],
    ["content", `${files} entries, ${formatSize(bytes)} (${formatSize(bytesRead)} read by this scan)`],
  ]);
  return [head, versions("PLUGIN", plugins), versions("DISTRIBUTION", distributions)].join("\n\n");
}

function versions(kind: string, byName: Readonly<Record<string, string>>): string {
  const entries = Object.entries(byName);
  return entries.length === 0 ? `no ${kind.toLowerCase()}s` : table([kind, "VERSION"], entries);
}
