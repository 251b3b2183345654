import type { EnvironmentLocation, Layout } from "../environment";
import { InvalidInputError } from "../problems";
import {
  type Difference,
  type EnvironmentSummary,
  explainDifference,
  listSnapshots,
  type ModelsMode,
  readCounted,
  readHead,
  scanCounted,
} from "../snapshot";
import {
  absoluteReference,
  environmentFrom,
  existingStore,
  type ScanOptions,
  storeSettingsFrom,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { type Output, table } from "./output";
import { scanDocument } from "./scan-text";
import type { Surroundings } from "./surroundings";

/** Most paths that are shown without `--json`: an upgraded library changes thousands. */
const mostShown = 50;

/** Compares an environment with a snapshot; a difference is the answer "no". */
export async function explainScan(
  reference: string,
  folder: string,
  options: ScanOptions,
  output: Output,
  { cwd, signal }: Pick<Surroundings, "cwd" | "signal">,
): Promise<ExitCode> {
  const head = await readHead(reference, storeSettingsFrom(options));
  // What the snapshot was made with is the fair comparison, unless the person asks for something else.
  const environment = environmentFrom(folder, cwd, options, head.layout);
  const models = options.models ?? head.models.mode;
  remarkOnSettings({ environment, models }, { layout: head.layout, models: head.models.mode }, output);
  const scanned = await scanCounted({ environment, models, progress: output.progress, signal });
  for (const remark of scanned.remarks) output.remark(remark);
  const changed = scanned.summary.id !== head.summary.id;
  const versions = versionChanges(head.summary, scanned.summary);
  const differences = changed
    ? explainDifference(await readCounted(reference, storeSettingsFrom(options)), scanned.counted)
    : [];
  output.result(
    { ...scanDocument(scanned), comparedWith: reference, comparedId: head.summary.id, changed, versions, differences },
    () =>
      changed
        ? [
            `${scanned.summary.id} differs from ${head.summary.id} (${reference}):`,
            ...(versions.length > 0 ? [versionsText(versions)] : []),
            differencesText(differences),
          ].join("\n\n")
        : `${scanned.summary.id} is unchanged since ${reference}`,
  );
  return changed ? exitCodes.no : exitCodes.done;
}

/** The reference that `--explain` asks to compare with, or null where it does not. */
export async function comparedReference(options: ScanOptions, output: Output, cwd: string): Promise<string | null> {
  const { explain, store } = options;
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
  const [newest] = await listSnapshots(folder, (problem) => output.remark(problem), storeSettingsFrom(options));
  if (newest === undefined) {
    throw new InvalidInputError([{ path: "--store", reason: `${folder} has no snapshot to compare with` }]);
  }
  return newest.reference;
}

/** What a person would call a change of an environment: `from` and `to` are null where there is none. */
export interface VersionChange {
  readonly kind: "comfyui" | "python" | "plugin" | "distribution";
  readonly name: string;
  readonly from: string | null;
  readonly to: string | null;
}

/** Which versions differ between two environments. */
function versionChanges(before: EnvironmentSummary, after: EnvironmentSummary): readonly VersionChange[] {
  const compare = (
    kind: VersionChange["kind"],
    old: Readonly<Record<string, string>>,
    current: Readonly<Record<string, string>>,
  ): readonly VersionChange[] =>
    [...new Set([...Object.keys(old), ...Object.keys(current)])]
      .sort()
      .map((name) => ({ kind, name, from: old[name] ?? null, to: current[name] ?? null }))
      .filter(({ from, to }) => from !== to);
  return [
    ...compare("comfyui", { comfyui: before.comfyui }, { comfyui: after.comfyui }),
    ...compare("python", { python: before.python }, { python: after.python }),
    ...compare("plugin", before.plugins, after.plugins),
    ...compare("distribution", before.distributions, after.distributions),
  ];
}

function versionsText(changes: readonly VersionChange[]): string {
  return table(
    ["KIND", "NAME", "FROM", "TO"],
    changes.map(({ kind, name, from, to }) => [kind, name, from, to]),
  );
}

/** The path comes last, so that one with spaces stays readable. */
function differencesText(differences: readonly Difference[]): string {
  const shown = table(
    ["CHANGE", "WHAT", "PATH"],
    differences.slice(0, mostShown).map(({ change, what, path }) => [change, what, path]),
  );
  const more = differences.length - mostShown;
  return more > 0 ? `${shown}\nand ${more} more, which --json lists` : shown;
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
