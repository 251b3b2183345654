import { InvalidInputError } from "../problems";
import { DamagedSnapshotError, readHead, SnapshotNotFoundError } from "../snapshot";
import { withCommonOptions } from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { type Output, type OutputOptions, table } from "./output";
import { directoryDescription, requireDirectory } from "./platform-directory";
import { type ServiceView, stackName, viewPlatform } from "./platform-view";
import type { Program } from "./program";
import { rollbackCandidate } from "./rollback";
import type { Surroundings } from "./surroundings";
import { indent, localTime } from "./text";

interface HistoryOptions extends OutputOptions {
  readonly directory?: string;
}

export function addHistory({ commands, surroundings, perform }: Program): void {
  withCommonOptions(commands.command("history"))
    .summary("show a service's releases and what became of them")
    .description("Shows each release with its snapshot and events, which one serves, and how to roll back.")
    .argument("[service]", "a service; all when left out")
    .option("--directory <folder>", directoryDescription)
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui history studio\n" +
        "  pulumi-comfyui history studio --json | jq -r '.services[0].rollback.snapshot'\n",
    )
    .action((service: string | undefined, { directory, ...options }: HistoryOptions) =>
      perform(options, (output) => showHistory({ directory, service }, output, surroundings)),
    );
}

interface Rollback {
  readonly release: string;
  readonly snapshot: string;
  /** Whether the snapshot's manifest is still in its store, undamaged. */
  readonly stored: boolean;
}

/** Shows the history of one service or of all; it is the same with and without a supervisor. */
export async function showHistory(
  { directory, service: name }: { readonly directory?: string | undefined; readonly service?: string | undefined },
  output: Output,
  { cwd }: Surroundings,
): Promise<ExitCode> {
  const view = await viewPlatform(requireDirectory(directory, cwd));
  const services = view.services.filter((service) => name === undefined || service.name === name);
  if (name !== undefined && services.length === 0) {
    const known = view.services.map((service) => service.name).join(", ") || "none";
    throw new InvalidInputError([
      { path: "SERVICE", reason: `there is no service ${name} in ${view.directory}; services: ${known}` },
    ]);
  }
  const histories = await Promise.all(
    services.map(async (service) => ({ service, rollback: await findRollback(service) })),
  );
  if (histories.length === 0) output.remark(`no service in ${view.directory}`);
  output.result(
    {
      directory: view.directory,
      services: histories.map(({ service: { name, owner, revision, serving, releases }, rollback }) => ({
        name,
        owner,
        revision,
        serving,
        releases: releases.map(({ id, revision, spec, count, events }) => ({
          id,
          revision,
          serving: id === serving,
          snapshot: spec.snapshot,
          count,
          events,
        })),
        rollback,
      })),
    },
    () => histories.map(({ service, rollback }) => historyText(service, rollback)).join("\n\n"),
  );
  return exitCodes.done;
}

async function findRollback({ releases, serving }: ServiceView): Promise<Rollback | null> {
  const candidate = rollbackCandidate(releases, serving);
  if (candidate === null) return null;
  const { snapshot } = candidate.spec;
  return { release: candidate.id, snapshot, stored: await isStored(snapshot) };
}

async function isStored(reference: string): Promise<boolean> {
  try {
    await readHead(reference);
    return true;
  } catch (error) {
    if (error instanceof SnapshotNotFoundError || error instanceof DamagedSnapshotError) return false;
    throw error;
  }
}

function historyText({ name, owner, serving, releases }: ServiceView, rollback: Rollback | null): string {
  const head = `Service ${name}: ${serving === null ? "serves nothing" : `serves ${serving}`}, stack ${stackName(owner)}`;
  const parts = releases.map(({ id, revision, spec, events }) => {
    const rows = events.map(({ event, at, detail }) => [localTime(at), event, detail?.replace(/\s+/g, " ") ?? ""]);
    const title = `revision ${revision}  ${id}${id === serving ? "  (serving)" : ""}`;
    return `${title}\n  snapshot ${spec.snapshot}\n${indent(table(["TIME", "EVENT", "DETAIL"], rows))}`;
  });
  return [head, ...parts.map((part) => indent(part)), rollbackText(rollback)].join("\n\n");
}

function rollbackText(rollback: Rollback | null): string {
  if (rollback === null) return "There is no earlier release of another snapshot to roll back to.";
  const pin = `snapshot: ${JSON.stringify(rollback.snapshot)},`;
  const missing = rollback.stored ? "" : "\nIts manifest is no longer in the store, or damaged: it cannot be restored.";
  return `To roll back to ${rollback.release}, pin its snapshot in the OnlineService's arguments and run pulumi up:\n  ${pin}${missing}`;
}
