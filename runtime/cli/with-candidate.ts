import { resolve } from "node:path";
import { stripVTControlCharacters } from "node:util";
import type { EksWatch } from "../eks";
import { formatDuration } from "../format";
import { InvalidInputError } from "../problems";
import { durationSchema } from "../units";
import { type Watch, waitFor } from "../waiting";
import { CallingEngine } from "./calling-engine";
import { type Candidate, findCandidate } from "./candidate";
import { startCandidateProxy } from "./candidate-proxy";
import { type ClusterOptions, clusterFrom, withClusterOptions } from "./cluster-options";
import { isFolder } from "./common-options";
import { exitCodes } from "./exit-codes";
import { type Ending, runGuarded } from "./guarded-command";
import type { Output, OutputOptions } from "./output";
import { directoryDescription } from "./platform-directory";
import type { Program } from "./program";
import { inShortLines } from "./short-lines";
import type { Surroundings, TextStream } from "./surroundings";
import { kubeconfigVariable, setVariablePrefix, tryingCommand } from "./with-candidate-words";

interface Options extends OutputOptions, ClusterOptions {
  readonly directory?: string;
  readonly release?: string;
  readonly timeout: number;
  readonly workingDirectory?: string;
  readonly acceptance?: boolean;
}

export function addWithCandidate({ commands, surroundings, perform }: Program): void {
  withClusterOptions(commands.command(tryingCommand))
    .summary("run a command that reaches a release before it serves")
    .description(
      "Runs a command with COMFYUI_URL, an address of this machine that leads to a release whether or not it serves, with COMFYUI_RELEASE and " +
        "COMFYUI_SERVICE. Ends with the command's exit code. What the command has started ends with it.",
    )
    .argument("<service>", "the service")
    .argument("<command...>", "the command and its arguments, after --")
    .option("--release <id>", "which release (default: the newest that has not served)")
    .option("--directory <folder>", directoryDescription)
    .option("--timeout <duration>", "how long the command may take", durationOf, durationOf("15m"))
    .option("--working-directory <folder>", "where the command runs (default: the current folder)")
    .option(
      "--acceptance",
      "as in pulumi up: a release that has served is not tried again, one that the command refuses is recorded as failed and its instances go, and all ends with the engine",
    )
    .option("--quiet", "show no progress")
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui with-candidate studio -- ./acceptance.sh\n" +
        "  pulumi-comfyui with-candidate studio --release r4-x7k2q -- sh -c 'curl -f $COMFYUI_URL/object_info'\n" +
        "  pulumi-comfyui with-candidate studio --namespace studio --context prod -- pytest acceptance/\n",
    )
    .action((service: string, command: readonly [string, ...string[]], options: Options) =>
      perform(options, (output) => withCandidate({ service, command, ...options }, output, surroundings)),
    );
}

function durationOf(text: string): number {
  const parsed = durationSchema.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidInputError([
    { path: "--timeout", reason: parsed.error.issues.map(({ message }) => message).join("; ") },
  ]);
}

export interface WithCandidate extends Options {
  readonly service: string;
  readonly command: readonly [string, ...string[]];
}

/** Milliseconds for a gateway to lead to the release: it may be new as well, and its image have to be pulled. */
const reachDeadline = 300_000;
/** Characters of the last line of output that are recorded. */
const mostQuoted = 500;
/** Characters of output in which it is looked for. */
const mostKept = 4_000;

/** @returns the command's exit code */
export async function withCandidate(
  request: WithCandidate,
  output: Output,
  surroundings: Surroundings,
): Promise<number> {
  const { service, release, directory, workingDirectory, acceptance = false } = request;
  const { cwd, environment } = surroundings;
  const folder = resolve(cwd, workingDirectory ?? ".");
  if (!isFolder(folder)) {
    throw new InvalidInputError([{ path: "--working-directory", reason: `${folder} is not a folder` }]);
  }
  const found = clusterFrom(request, directory, cwd);
  const kubeconfig = environment[kubeconfigVariable];
  const cluster = found === null || kubeconfig === undefined ? found : { ...found, kubeconfig };
  using engine = acceptance ? new CallingEngine() : null;
  const watch: EksWatch = {
    progress: output.progress,
    signal: engine === null ? surroundings.signal : AbortSignal.any([surroundings.signal, engine.signal]),
    assertEngine: async () => engine?.assertThere(),
  };
  const candidate = await findCandidate(
    { service, release, directory, cluster, start: acceptance },
    { ...watch, cwd, remark: (text) => output.remark(text) },
  );
  try {
    if (acceptance && candidate.served) {
      output.remark(
        `release ${candidate.release} has served: it was accepted; another release is tried with this command`,
      );
      return exitCodes.done;
    }
    const { ending, lastLine } = await tried(candidate, { ...request, folder }, watch, output, surroundings);
    const reason = reasonOf(ending, request.timeout);
    if (reason === null) return ending.code;
    if (acceptance) {
      await watch.assertEngine();
      const detail = `acceptance: the command ${reason}${lastLine === "" ? "" : `: ${lastLine}`}`;
      const consequence = await candidate.fail(detail, watch);
      output.remark(`release ${candidate.release} is not accepted: the command ${reason}; ${consequence}`);
    } else output.remark(`pulumi-comfyui: the command ${reason}`);
    // One that ends well when it is told to, at its deadline, has not succeeded.
    return ending.code === 0 ? exitCodes.failed : ending.code;
  } finally {
    candidate.close();
  }
}

/** Runs the command with the way to the candidate. */
async function tried(
  candidate: Candidate,
  { service, command, folder, timeout, acceptance = false }: WithCandidate & { readonly folder: string },
  { progress, signal }: Watch,
  output: Output,
  { environment, stdout, stderr }: Surroundings,
): Promise<{ readonly ending: Ending; readonly lastLine: string }> {
  await using proxy = await startCandidateProxy(candidate.gateway, candidate);
  await untilReached(proxy.url, candidate.release, { progress, signal });
  output.clearProgress();
  const end = { text: "" };
  const ending = await runGuarded({
    command,
    folder,
    environment: {
      ...givenTo(environment),
      COMFYUI_URL: proxy.url,
      COMFYUI_RELEASE: candidate.release,
      COMFYUI_SERVICE: service,
    },
    deadline: timeout,
    signal,
    stdout: noting(stdout, acceptance, end),
    stderr: noting(stderr, acceptance, end),
  });
  const lines = stripVTControlCharacters(end.text)
    .split("\n")
    .map((line) => line.trim());
  return { ending, lastLine: lines.findLast((line) => line !== "")?.slice(0, mostQuoted) ?? "" };
}

/** Why a command has failed, or null. */
function reasonOf({ code, signal, late }: Ending, timeout: number): string | null {
  if (late) return `did not end within ${formatDuration(timeout)} and was ended`;
  if (signal !== null) return `was ended by ${signal}`;
  return code === 0 ? null : `ended with exit code ${code}`;
}

/** What the command gets of this process's environment: what was meant for it, and nothing that was meant for this one only. */
function givenTo(environment: Surroundings["environment"]): Readonly<Record<string, string | undefined>> {
  const isSet = (name: string) => name.startsWith(setVariablePrefix);
  const entries = Object.entries(environment);
  return Object.fromEntries([
    ...entries.filter(([name]) => !isSet(name) && name !== kubeconfigVariable),
    ...entries.filter(([name]) => isSet(name)).map(([name, value]) => [name.slice(setVariablePrefix.length), value]),
  ]);
}

/** Passes output on, and keeps its end. */
function noting(stream: TextStream, inLines: boolean, end: { text: string }) {
  const shorten = inShortLines();
  return async (bytes: Buffer): Promise<void> => {
    end.text = `${end.text}${bytes.toString("utf8")}`.slice(-mostKept);
    await stream.writeBytes(inLines ? shorten(bytes) : bytes);
  };
}

async function untilReached(url: string, release: string, { progress, signal }: Watch): Promise<void> {
  let seen = "no answer";
  await waitFor({
    what: `release ${release} to answer through its gateway`,
    deadline: reachDeadline,
    interval: 250,
    progress,
    signal,
    seen: () => seen,
    look: async () => {
      const answer = await fetch(`${url}/system_stats`, { signal });
      const text = await answer.text();
      if (answer.ok) return true;
      seen = `${answer.status} ${text.slice(0, mostQuoted)}`;
      return undefined;
    },
  });
}
