import { setTimeout as delay } from "node:timers/promises";
import { InvalidInputError } from "../problems";
import { withCommonOptions } from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import type { Output, OutputOptions } from "./output";
import { directoryDescription, findDirectory } from "./platform-directory";
import { type PlatformView, viewPlatform } from "./platform-view";
import type { Program } from "./program";
import { findProblems } from "./status-problems";
import { statusText } from "./status-text";
import type { Surroundings } from "./surroundings";

interface StatusOptions extends OutputOptions {
  readonly directory?: string;
  readonly watch?: boolean;
}

export interface StatusRequest {
  /** As the person gave it; see `findDirectory`. */
  readonly directory?: string | undefined;
  /** Name of a service or workstation; all without it. */
  readonly name?: string | undefined;
  readonly watch: boolean;
}

/** Milliseconds between two looks of `--watch`. */
const watchInterval = 1000;

export function addStatus({ commands, surroundings, perform }: Program): void {
  withCommonOptions(commands.command("status"))
    .summary("show what runs on the local platform")
    .description(
      "Shows services, releases, instances and workstations. Exit code 3 when something is not as declared, or there is nothing.",
    )
    .argument("[service]", "a service or workstation; all when left out")
    .option("--directory <folder>", directoryDescription)
    .option("--watch", "show again every second until interrupted")
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui status\n  pulumi-comfyui status studio --watch\n" +
        "  pulumi-comfyui status --json | jq -r '.problems[]'\n",
    )
    .action((name: string | undefined, { directory, watch = false, ...options }: StatusOptions) =>
      perform(options, (output) => showStatus({ directory, name, watch }, output, surroundings)),
    );
}

/** Shows a platform's state; anything unhealthy, or nothing at all, is the answer "no". */
export async function showStatus(
  { directory, name, watch }: StatusRequest,
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  if (watch && output.json) {
    throw new InvalidInputError([
      { path: "--watch", reason: "cannot be used with --json, which writes one document; call status again instead" },
    ]);
  }
  if (watch) {
    while (!signal.aborted) {
      output.frame(await frame(directory, name, cwd));
      await delay(watchInterval, undefined, { signal }).catch(() => undefined);
    }
    return exitCodes.done;
  }
  const found = findDirectory(directory, cwd);
  const view = found === null ? null : only(name, await viewPlatform(found));
  const problems = view === null ? [] : findProblems(view);
  const empty = view === null || view.services.length + view.workstations.length === 0;
  output.result(document(view, problems, !empty && problems.length === 0), () =>
    view === null || empty ? nothing(found, name, cwd) : statusText(view, problems, Date.now()),
  );
  return empty || problems.length > 0 ? exitCodes.no : exitCodes.done;
}

async function frame(directory: string | undefined, name: string | undefined, cwd: string): Promise<string> {
  const found = findDirectory(directory, cwd);
  if (found === null) return nothing(found, name, cwd);
  const view = only(name, await viewPlatform(found));
  if (view.services.length + view.workstations.length === 0) return nothing(found, name, cwd);
  return statusText(view, findProblems(view), Date.now());
}

function document(view: PlatformView | null, problems: readonly string[], healthy: boolean) {
  return {
    directory: view?.directory ?? null,
    running: (view?.supervisor ?? null) !== null,
    healthy,
    problems,
    supervisor: view?.supervisor ?? null,
    services: view?.services ?? [],
    workstations: view?.workstations ?? [],
  };
}

function only(name: string | undefined, view: PlatformView): PlatformView {
  if (name === undefined) return view;
  return {
    ...view,
    services: view.services.filter((service) => service.name === name),
    workstations: view.workstations.filter((workstation) => workstation.name === name),
  };
}

function nothing(directory: string | null, name: string | undefined, cwd: string): string {
  if (directory === null) return `no local platform in ${cwd} or above it: nothing was deployed from here`;
  return name === undefined
    ? `nothing is deployed in ${directory}`
    : `no service or workstation ${name} in ${directory}`;
}
