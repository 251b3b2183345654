import { InvalidInputError } from "../problems";
import { openBrowser } from "./browser";
import { type ClusterOptions, clusterFrom, withClusterOptions } from "./cluster-options";
import { withCommonOptions } from "./common-options";
import { type ExitCode, exitCodes } from "./exit-codes";
import type { Output, OutputOptions } from "./output";
import { directoryDescription, requireDirectory } from "./platform-directory";
import { type LocalView, viewPlatform } from "./platform-view";
import type { Program } from "./program";
import type { Surroundings } from "./surroundings";

type Kind = "service" | "workstation";

interface OpenOptions extends OutputOptions, ClusterOptions {
  readonly port?: number;
  readonly directory?: string;
  readonly service?: boolean;
  readonly workstation?: boolean;
  readonly browser?: boolean;
}

export function addOpen({ commands, surroundings, perform }: Program): void {
  withClusterOptions(withCommonOptions(commands.command("open")))
    .summary("print the URL of a service or workstation")
    .description(
      "Prints a URL. A service comes before a workstation of the same name. Exit code 3 when nothing answers there. " +
        "With --namespace, a port of this machine leads there until the command is interrupted, and a workstation that has stopped itself is started.",
    )
    .argument(
      "[name]",
      "a service or workstation; may be left out when there is only one service, or only a workstation",
    )
    .option("--directory <folder>", directoryDescription)
    .option("--service", "look at services only")
    .option("--workstation", "look at workstations only")
    .option("--port <port>", "with --namespace: port of this machine (default: one that is free)", portOf)
    .option("--browser", "also open it in the desktop's browser")
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui open studio\n  pulumi-comfyui open studio --workstation --browser\n" +
        '  curl "$(pulumi-comfyui open studio)/system_stats"\n' +
        "  pulumi-comfyui open studio --workstation --namespace studio --port 8188\n",
    )
    .action((name: string | undefined, options: OpenOptions) => {
      const { directory, service, workstation, browser = false, port } = options;
      const kind = service ? "service" : workstation ? "workstation" : undefined;
      return perform(options, async (output) => {
        const address = clusterFrom(options, directory, surroundings.cwd);
        if (address === null) {
          if (port !== undefined) throw new InvalidInputError([{ path: "--port", reason: "needs --namespace" }]);
          return openUrl({ directory, name, kind, browser }, output, surroundings);
        }
        // Loaded when it is used, with the client of the Kubernetes API.
        const { openInCluster } = await import("./open-in-cluster.js");
        return openInCluster({ address, name, kind, port, browser }, output, surroundings);
      });
    });
}

function portOf(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  throw new InvalidInputError([{ path: "--port", reason: `${JSON.stringify(text)} is no port: use 1 to 65535` }]);
}

export interface OpenRequest {
  readonly directory?: string | undefined;
  readonly name?: string | undefined;
  readonly kind?: Kind | undefined;
  readonly browser: boolean;
}

interface Place {
  readonly kind: Kind;
  readonly name: string;
  readonly url: string;
  /** Why nothing answers there, or null when it should. */
  readonly silent: string | null;
}

/** Prints where something is, also when it is down: then with the answer "no". */
async function openUrl(
  { directory, name, kind, browser }: OpenRequest,
  output: Output,
  { cwd, environment }: Surroundings,
): Promise<ExitCode> {
  const view = await viewPlatform(requireDirectory(directory, cwd));
  const places = placesIn(view).filter((place) => kind === undefined || place.kind === kind);
  const place = choose(places, name, view.directory);
  if (place.silent !== null) output.remark(`${place.kind} ${place.name}: ${place.silent}`);
  if (browser && place.silent === null) await openBrowser(place.url, environment);
  output.result(place, () => place.url);
  return place.silent === null ? exitCodes.done : exitCodes.no;
}

function placesIn({ services, workstations, supervisor }: LocalView): readonly Place[] {
  const noSupervisor = supervisor === null ? "nothing runs: no supervisor answers" : null;
  return [
    ...services.flatMap(({ name, gateway, serving }): Place[] => {
      if (gateway === null) return [];
      const down = gateway.running === false ? "its gateway is down" : serving === null ? "it serves nothing" : null;
      return [{ kind: "service", name, url: gateway.url, silent: noSupervisor ?? down }];
    }),
    ...workstations.map(({ name, url, phase }): Place => {
      const down = phase === "running" ? null : `it is ${phase}`;
      return { kind: "workstation", name, url, silent: noSupervisor ?? down };
    }),
  ];
}

function choose(places: readonly Place[], name: string | undefined, directory: string): Place {
  const named = places.filter((place) => name === undefined || place.name === name);
  const services = named.filter((place) => place.kind === "service");
  const candidates = services.length > 0 ? services : named;
  const [first] = candidates;
  if (first !== undefined && candidates.length === 1) return first;
  const known = places.map((place) => `${place.kind} ${place.name}`).join(", ") || "nothing";
  const reason =
    name === undefined && candidates.length > 1
      ? `say which one to open; ${directory} has ${known}`
      : `there is nothing of that name to open in ${directory}, which has ${known}`;
  throw new InvalidInputError([{ path: "NAME", reason }]);
}
