import { InvalidArgumentError, Option } from "commander";
import { durationSchema } from "../units";
import type { ClusterOptions } from "./cluster-options";
import { withCommonOptions } from "./common-options";
import type { OutputOptions } from "./output";
import { directoryDescription } from "./platform-directory";
import type { Program } from "./program";
import { recover } from "./recover/recovery";

interface RecoverOptions extends OutputOptions, ClusterOptions {
  readonly cwd?: string;
  readonly stack?: string;
  readonly directory?: string;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
  readonly includeServing?: boolean;
  readonly pulumiTimeout: number;
}

export function addRecover({ commands, surroundings, perform }: Program): void {
  withCommonOptions(commands.command("recover"))
    .summary("clean up after a pulumi run that was killed")
    .description(
      "Makes sure that the run is really gone, takes its lock away, clears its pending operations, and removes, when confirmed, " +
        "what it left on the local platform, or in a cluster, without a trace in the stack's state. May be run again at any time. " +
        "Exit code 3 when something was found and not done, because of --dry-run or for want of a confirmation.",
    )
    .option("--cwd <project>", "the Pulumi project's folder (default: the current one)")
    .option("--stack <stack>", "the stack (default: the selected one)")
    .option("--directory <folder>", `${directoryDescription}, besides those that the state names`)
    .option("--namespace <namespace>", "a namespace of a cluster, besides those that the state names")
    .option("--context <context>", "the kubeconfig's context, instead of the one that the state names")
    .option("--kubeconfig <path>", "the kubeconfig, instead of the one that the state names")
    .option("--yes", "remove what was found without asking")
    .option("--dry-run", "show what would be done and change nothing")
    .option("--include-serving", "remove also what serves users at this moment")
    .addOption(
      new Option("--pulumi-timeout <duration>", "time for each call of pulumi")
        .argParser(parseDuration)
        .default(120_000, "2m"),
    )
    .addHelpText(
      "after",
      "\nExamples:\n  pulumi-comfyui recover --stack prod --dry-run\n  pulumi-comfyui recover --stack prod --yes && pulumi up\n",
    )
    .action(({ cwd, pulumiTimeout, yes, dryRun, includeServing, ...options }: RecoverOptions) =>
      perform(options, (output) =>
        recover(
          {
            project: cwd ?? ".",
            stack: options.stack,
            directory: options.directory,
            cluster: options,
            yes: yes ?? false,
            dryRun: dryRun ?? false,
            includeServing: includeServing ?? false,
            pulumiDeadline: pulumiTimeout,
          },
          output,
          surroundings,
        ),
      ),
    );
}

function parseDuration(text: string): number {
  const parsed = durationSchema.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError(parsed.error.issues.map(({ message }) => message).join("; "));
}
