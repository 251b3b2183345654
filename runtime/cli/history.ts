import type { Release } from "../deployment";
import { listNamespace } from "../kubernetes";
import { InvalidInputError } from "../problems";
import { DamagedSnapshotError, readHead, SnapshotNotFoundError } from "../snapshot";
import { connectTo } from "./cluster-connection";
import { type ClusterOptions, clusterFrom, withClusterOptions } from "./cluster-options";
import { clusterView } from "./cluster-view";
import { withCommonOptions } from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import { describeFailure } from "./failure";
import { type Output, type OutputOptions, table } from "./output";
import { directoryDescription, requireDirectory } from "./platform-directory";
import {
  type PlatformView,
  placeDocument,
  placeText,
  type ServiceView,
  stackName,
  viewPlatform,
} from "./platform-view";
import type { Program } from "./program";
import { rollbackCandidate } from "./rollback";
import type { Surroundings } from "./surroundings";
import { indent, localTime } from "./text";

interface HistoryOptions extends OutputOptions, ClusterOptions {
  readonly directory?: string;
}

export function addHistory({ commands, surroundings, perform }: Program): void {
  withClusterOptions(withCommonOptions(commands.command("history")))
    .summary("show a service's releases and what became of them")
    .description("Shows each release with its snapshot and events, which one serves, and how to roll back.")
    .argument("[service]", "a service; all when left out")
    .option("--directory <folder>", directoryDescription)
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui history studio\n  pulumi-comfyui history studio --namespace studio --context prod\n" +
        "  pulumi-comfyui history studio --json | jq -r '.services[0].rollback.snapshot'\n",
    )
    .action((service: string | undefined, { directory, ...options }: HistoryOptions) =>
      perform(options, (output) => showHistory({ directory, cluster: options, service }, output, surroundings)),
    );
}

interface Rollback {
  readonly release: string;
  readonly snapshot: string;
  /** Whether the snapshot's manifest is still in its store, undamaged; null when the store cannot be looked at from here. */
  readonly stored: boolean | null;
}

interface HistoryRequest {
  readonly directory?: string | undefined;
  /** A cluster's namespace instead of the local platform. */
  readonly cluster?: ClusterOptions;
  readonly service?: string | undefined;
}

/** Shows the history of one service or of all; it is the same with and without a supervisor. */
async function showHistory(
  { directory, cluster = {}, service: name }: HistoryRequest,
  output: Output,
  { cwd }: Surroundings,
): Promise<ExitCode> {
  const view = await look(directory, cluster, cwd);
  const place = placeText(view);
  const services = view.services.filter((service) => name === undefined || service.name === name);
  if (name !== undefined && services.length === 0) {
    const known = view.services.map((service) => service.name).join(", ") || "none";
    throw new InvalidInputError([
      { path: "SERVICE", reason: `there is no service ${name} in ${place}; services: ${known}` },
    ]);
  }
  const histories = await Promise.all(
    services.map(async (service) => ({ service, rollback: await findRollback(service, view, output) })),
  );
  if (histories.length === 0) output.remark(`no service in ${place}`);
  output.result(
    {
      ...placeDocument(view),
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

async function look(directory: string | undefined, options: ClusterOptions, cwd: string): Promise<PlatformView> {
  const address = clusterFrom(options, directory, cwd);
  if (address === null) return viewPlatform(requireDirectory(directory, cwd));
  const cluster = await connectTo(address);
  return clusterView(cluster, await listNamespace(cluster));
}

async function findRollback(
  { releases, serving }: ServiceView,
  { kind }: PlatformView,
  output: Output,
): Promise<Rollback | null> {
  const candidate = rollbackCandidate(releases, serving);
  if (candidate === null) return null;
  const { snapshot } = candidate.spec;
  try {
    return { release: candidate.id, snapshot, stored: await isStored(candidate) };
  } catch (error) {
    // Whoever may look at a cluster need not have the store's credentials.
    if (kind === "local") throw error;
    output.remark(`whether ${snapshot} is still there cannot be told from here: ${describeFailure(error).message}`);
    return { release: candidate.id, snapshot, stored: null };
  }
}

async function isStored({ spec }: Release): Promise<boolean> {
  try {
    await readHead(spec.snapshot, spec.store);
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
  const missing =
    rollback.stored !== false ? "" : "\nIts manifest is no longer in the store, or damaged: it cannot be restored.";
  return `To roll back to ${rollback.release}, pin its snapshot in the OnlineService's arguments and run pulumi up:\n  ${pin}${missing}`;
}
