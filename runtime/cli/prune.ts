import { dirname } from "node:path";
import { InvalidInputError, type Problem } from "../problems";
import { type Packs, type Protection, type Pruning, prune, pruneWait } from "../snapshot";
import { isS3Location } from "../store";
import { readServiceRecords } from "../supervisor";
import { durationSchema, formatDuration, formatSize } from "../units";
import {
  absoluteReference,
  existingStore,
  type StoreOptions,
  storeSettingsFrom,
  withCommonOptions,
  withStoreOptions,
} from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { count, type Output, table } from "./output";
import { findDirectory, requireDirectory } from "./platform-directory";
import { hasEnded } from "./platform-view";
import type { Program } from "./program";
import { rollbackCandidate } from "./rollback";
import type { Surroundings } from "./surroundings";
import { indent, localTime } from "./text";

interface PruneOptions extends StoreOptions {
  readonly keepNewest?: string;
  readonly keepYoungerThan?: string;
  readonly platform: readonly string[];
  readonly protect: readonly string[];
  readonly dryRun?: boolean;
  readonly wait?: string;
}

export function addPrune({ commands, surroundings, perform }: Program): void {
  withCommonOptions(withStoreOptions(commands.command("prune")))
    .summary("remove old snapshots from a store, and what only they needed")
    .description(
      "Removes the snapshots that no rule keeps and no release uses. What only they needed is marked, and removed by a run a day " +
        "later if no snapshot needs it by then: run it regularly, for example every night. May run beside packs and restores.",
    )
    .argument("<store>", "the store: a folder, or s3://bucket/prefix")
    .option("--keep-newest <n>", "keep the newest so many snapshots")
    .option("--keep-younger-than <age>", "keep those that the store has had for less, for example 30d or 12h")
    .option("--platform <directory>", "keep what the releases of this local platform use; may be repeated", collect, [])
    .option("--protect <reference>", "keep this snapshot; may be repeated", collect, [])
    .option("--dry-run", "change nothing; exit with 3 when there is something to do")
    .option("--wait <time>", `between mark and removal (default: ${formatDuration(pruneWait)})`)
    .addHelpText(
      "after",
      "\nOne of the --keep options is needed. The platforms in the nearest .comfyui of the current folder and of the store are\n" +
        "looked at as well; those on other machines are not known here: name what they use with --protect.\n" +
        "\nExamples:\n  pulumi-comfyui prune ./.comfyui/store --keep-newest 5 --dry-run\n" +
        "  pulumi-comfyui prune /srv/store --keep-younger-than 30d --platform /srv/one/.comfyui --platform /srv/two/.comfyui\n",
    )
    .action((store: string, options: PruneOptions) =>
      perform(options, (output) => pruneStore(store, options, output, surroundings)),
    );
}

function collect(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}

/** Prunes a store; what the releases of every platform that is known here use, stays. */
async function pruneStore(
  storeText: string,
  options: PruneOptions,
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  const store = existingStore(storeText, cwd);
  const { newest, youngerThan, wait } = numbersFrom(options);
  const platforms = platformsFor(options.platform, store, cwd);
  if (wait !== undefined && wait < pruneWait) {
    output.remark(`--wait ${options.wait}: nothing may pack to ${store} at the same time`);
  }
  const pruning = await prune({
    store,
    settings: storeSettingsFrom(options),
    keep: { ...(newest === undefined ? {} : { newest }), ...(youngerThan === undefined ? {} : { youngerThan }) },
    protect: [
      ...platforms.flatMap(usedBy),
      ...options.protect.map((text) => ({ snapshot: protectedOne(text, cwd), reason: "--protect" })),
    ],
    dryRun: options.dryRun ?? false,
    ...(wait === undefined ? {} : { wait }),
    progress: output.progress,
    signal,
  });
  output.result({ ...pruning, platforms }, () => textOf(pruning, platforms));
  return pruning.dryRun && isSomethingToDo(pruning) ? exitCodes.no : exitCodes.done;
}

function numbersFrom({ keepNewest, keepYoungerThan, wait }: PruneOptions) {
  const problems: Problem[] = [];
  if (keepNewest === undefined && keepYoungerThan === undefined) {
    problems.push({
      path: "--keep-newest",
      reason: "give it, or --keep-younger-than, or both: without one, every snapshot that no release uses would go",
    });
  }
  if (keepNewest !== undefined && !/^[1-9]\d{0,8}$/.test(keepNewest)) {
    problems.push({ path: "--keep-newest", reason: `${JSON.stringify(keepNewest)} is not a number of 1 or more` });
  }
  const durations = {
    "--keep-younger-than": keepYoungerThan,
    "--wait": wait,
  };
  const milliseconds = Object.entries(durations).map(([path, text]) => {
    if (text === undefined) return undefined;
    const parsed = duration(text);
    if (parsed === undefined || (path === "--keep-younger-than" && parsed <= 0)) {
      problems.push({ path, reason: `${JSON.stringify(text)} is not a time such as "30d", "12h" or "90m"` });
    }
    return parsed;
  });
  if (problems.length > 0) throw new InvalidInputError(problems);
  const [youngerThan, waitFor] = milliseconds;
  return { newest: keepNewest === undefined ? undefined : Number(keepNewest), youngerThan, wait: waitFor };
}

/** Milliseconds; besides the units of a duration, days: retention is thought of in them. */
function duration(text: string): number | undefined {
  const [, days] = /^(\d+)d$/.exec(text) ?? [];
  if (days !== undefined) return Number(days) * 24 * 3_600_000;
  const parsed = durationSchema.safeParse(text);
  return parsed.success ? parsed.data : undefined;
}

function protectedOne(text: string, cwd: string): string {
  const digest = text.replace(/^sha256:/, "");
  return /^[0-9a-f]{64}$/.test(digest) ? digest : absoluteReference(text, cwd, "--protect");
}

/** The platforms that were named, and those that are where a person would expect them. */
function platformsFor(named: readonly string[], store: string, cwd: string): readonly string[] {
  const folders = isS3Location(store) ? [cwd] : [cwd, dirname(store)];
  const found = folders.map((folder) => findDirectory(undefined, folder));
  return [
    ...new Set([
      ...named.map((directory) => requireDirectory(directory, cwd, "--platform")),
      ...found.filter((directory) => directory !== null),
    ]),
  ];
}

/** What the releases of a platform use, and what each service would be rolled back to. */
function usedBy(directory: string): readonly Protection[] {
  return readServiceRecords(directory).flatMap(({ name, releases, serving }) => {
    const rollback = rollbackCandidate(releases, serving);
    return [
      ...releases
        .filter((release) => !hasEnded(release))
        .map(({ id, spec }) => ({ snapshot: spec.snapshot, reason: `release ${id} of the service ${name}` })),
      ...(rollback === null
        ? []
        : [{ snapshot: rollback.spec.snapshot, reason: `to roll the service ${name} back to ${rollback.id}` }]),
    ];
  });
}

function isSomethingToDo({ removed, expiring, marked, freed, unmarked }: Pruning): boolean {
  const expired = expiring.filter(({ isNew }) => isNew);
  return removed.length + expired.length + marked.packs + freed.packs + freed.abandoned.objects + unmarked > 0;
}

function textOf(pruning: Pruning, platforms: readonly string[]): string {
  const { kept, removed, expiring, marked, waiting, young, unmarked, freed, missing, dryRun } = pruning;
  const would = (done: string, planned: string) => (dryRun ? `Would ${planned}` : done);
  const packs = ({ packs: number, bytes }: Packs) => `${count(number, "pack")}, ${formatSize(bytes)}`;
  const bytesFreed = freed.bytes + freed.manifestBytes + freed.abandoned.bytes;
  const lines = [
    `${would("Kept", "keep")} ${count(kept.length, "snapshot")}`,
    indent(
      table(
        ["STORED", "REFERENCE", "WHY"],
        kept.map(({ storedAt, reference, reasons }) => [localTime(storedAt), reference, reasons.join("; ")]),
      ),
    ),
    `${would("Removed", "remove")} ${count(removed.length, "snapshot")}`,
    indent(
      table(
        ["STORED", "REFERENCE"],
        removed.map(({ storedAt, reference }) => [localTime(storedAt), reference]),
      ),
    ),
    expiring.length > 0 &&
      `Expired, and marked since one that is being packed may be based on it: ${count(expiring.length, "snapshot")}`,
    indent(
      table(
        ["STORED", "GOES AFTER", "REFERENCE"],
        expiring.map(({ storedAt, until, reference }) => [localTime(storedAt), localTime(until), reference]),
      ),
    ),
    marked.packs > 0 && `${would("Marked", "mark")} for removal, since no snapshot needs them: ${packs(marked)}`,
    waiting.packs > 0 &&
      `Marked and not old enough: ${packs(waiting)}; a run after ${localTime(waiting.until ?? "")} removes the last of them`,
    young.packs > 0 && `Needed by no snapshot, but so new that one which is being packed may be: ${packs(young)}`,
    unmarked > 0 && `${would("Took", "take")} the mark from ${count(unmarked, "object")} that a snapshot needs again`,
    `${would("Freed", "free")} ${formatSize(bytesFreed)}: ${packs(freed)}; ${count(removed.length, "manifest")}; ` +
      `${count(freed.abandoned.objects, "left-over")} of killed packers`,
    ...missing.map((digest) => `Not in the store, though it was to be kept: sha256:${digest}`),
    platforms.length === 0
      ? "No platform was looked at: snapshots that releases use are kept only by the rules above"
      : `Looked at what releases use on ${platforms.join(", ")}`,
  ];
  const empty = (line: string) => (line.includes("REFERENCE") ? line.split("\n").length > 1 : true);
  return lines.filter((line) => line !== false && empty(line)).join("\n");
}
