import { setTimeout as delay } from "node:timers/promises";
import { pause } from "../bell";
import { type Cluster, listNamespace, NamespaceWatch, orNull, statusOf } from "../kubernetes";
import { InvalidInputError } from "../problems";
import { connectTo } from "./cluster-connection";
import { type ClusterOptions, clusterFrom, withClusterOptions } from "./cluster-options";
import { clusterView } from "./cluster-view";
import { withCommonOptions } from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import type { Output, OutputOptions } from "./output";
import { directoryDescription, findDirectory } from "./platform-directory";
import { type PlatformView, placeDocument, placeText, viewPlatform } from "./platform-view";
import type { Program } from "./program";
import { findProblems } from "./status-problems";
import { statusText } from "./status-text";
import type { Surroundings } from "./surroundings";

interface StatusOptions extends OutputOptions, ClusterOptions {
  readonly directory?: string;
  readonly watch?: boolean;
}

export interface StatusRequest {
  /** As the person gave it; see `findDirectory`. */
  readonly directory?: string | undefined;
  /** A cluster's namespace instead of the local platform. */
  readonly cluster?: ClusterOptions;
  /** Name of a service or workstation; all without it. */
  readonly name?: string | undefined;
  readonly watch: boolean;
}

/** Milliseconds between two frames of `--watch`. */
const watchInterval = 1000;
/** Milliseconds within which changes of a cluster are shown together. */
const changesTogether = 200;

export function addStatus({ commands, surroundings, perform }: Program): void {
  withClusterOptions(withCommonOptions(commands.command("status")))
    .summary("show what runs")
    .description(
      "Shows services, releases, instances and workstations, on the local platform or in a namespace of a cluster. " +
        "Exit code 3 when something is not as declared, or there is nothing.",
    )
    .argument("[service]", "a service or workstation; all when left out")
    .option("--directory <folder>", directoryDescription)
    .option("--watch", "show it again when it changes, until interrupted")
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui status\n  pulumi-comfyui status studio --watch\n" +
        "  pulumi-comfyui status studio --namespace studio --context prod\n" +
        "  pulumi-comfyui status --json | jq -r '.problems[]'\n",
    )
    .action((name: string | undefined, { directory, watch = false, ...options }: StatusOptions) =>
      perform(options, (output) => showStatus({ directory, cluster: options, name, watch }, output, surroundings)),
    );
}

/** Shows a platform's state; anything unhealthy, or nothing at all, is the answer "no". */
async function showStatus(
  { directory, cluster = {}, name, watch }: StatusRequest,
  output: Output,
  { cwd, signal }: Surroundings,
): Promise<ExitCode> {
  if (watch && output.json) {
    throw new InvalidInputError([
      { path: "--watch", reason: "cannot be used with --json, which writes one document; call status again instead" },
    ]);
  }
  const address = clusterFrom(cluster, directory, cwd);
  if (address !== null) {
    const found = await connectTo(address);
    if (watch) return watchCluster(found, name, output, signal);
    const view = clusterView(found, await listNamespace(found, name));
    return show(view, await nothingInCluster(found, view, name), output);
  }
  if (!watch) return show(...(await lookHere(directory, name, cwd)), output);
  while (!signal.aborted) {
    output.frame(frame(...(await lookHere(directory, name, cwd))));
    await delay(watchInterval, undefined, { signal }).catch(() => undefined);
  }
  return exitCodes.done;
}

/** Looks at the local platform; with the text that is shown when there is nothing. */
async function lookHere(
  directory: string | undefined,
  name: string | undefined,
  cwd: string,
): Promise<readonly [PlatformView | null, string]> {
  const found = findDirectory(directory, cwd);
  if (found === null) return [null, `no local platform in ${cwd} or above it: nothing was deployed from here`];
  const view = only(name, await viewPlatform(found));
  return [view, nothingIn(view, name)];
}

/** Shows a namespace at every change, and, at a terminal, each second, since ages are shown. */
async function watchCluster(
  cluster: Cluster,
  name: string | undefined,
  output: Output,
  signal: AbortSignal,
): Promise<ExitCode> {
  // What is refused is refused at once; a watch would ask again.
  await listNamespace(cluster, name);
  const watch = new NamespaceWatch(cluster, name);
  try {
    await watch.start();
    let shown = "";
    while (!signal.aborted) {
      const { next } = watch;
      const view = clusterView(cluster, watch.objects);
      const { problem } = watch;
      const text =
        frame(view, nothingIn(view, name)) + (problem === null ? "" : `\n\n${problem}; shown is what was known`);
      if (output.isTerminal || text !== shown) output.frame(text);
      shown = text;
      await pause(watchInterval, AbortSignal.any([signal, next]));
      await pause(changesTogether, signal);
    }
  } finally {
    watch.close();
  }
  return exitCodes.done;
}

function show(view: PlatformView | null, nothing: string, output: Output): ExitCode {
  const problems = view === null ? [] : findProblems(view);
  const empty = view === null || isEmpty(view);
  output.result(document(view, problems, !empty && problems.length === 0), () =>
    view === null || empty ? nothing : statusText(view, problems, Date.now()),
  );
  return empty || problems.length > 0 ? exitCodes.no : exitCodes.done;
}

function frame(view: PlatformView | null, nothing: string): string {
  return view === null || isEmpty(view) ? nothing : statusText(view, findProblems(view), Date.now());
}

const isEmpty = ({ services, workstations }: PlatformView) => services.length + workstations.length === 0;

function document(view: PlatformView | null, problems: readonly string[], healthy: boolean) {
  const deployed = { services: view?.services ?? [], workstations: view?.workstations ?? [] };
  if (view?.kind === "kubernetes") return { ...placeDocument(view), healthy, problems, ...deployed };
  return {
    directory: view?.directory ?? null,
    running: (view?.supervisor ?? null) !== null,
    healthy,
    problems,
    supervisor: view?.supervisor ?? null,
    ...deployed,
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

function nothingIn(view: PlatformView, name: string | undefined): string {
  return name === undefined
    ? `nothing is deployed in ${placeText(view)}`
    : `no service or workstation ${name} in ${placeText(view)}`;
}

/** The same, and whether there is such a namespace at all: a list of one that does not exist is empty. */
async function nothingInCluster(
  { core, namespace }: Cluster,
  view: PlatformView,
  name: string | undefined,
): Promise<string> {
  if (!isEmpty(view)) return "";
  try {
    const found = await orNull(core.readNamespace({ name: namespace }));
    return found === null ? `there is no ${placeText(view)}` : nothingIn(view, name);
  } catch (error) {
    // Not everybody may look at namespaces.
    if (statusOf(error) === 403) return nothingIn(view, name);
    throw error;
  }
}
