import { join, relative } from "node:path";
import type * as commandSdk from "@pulumi/command";
import type * as pulumi from "@pulumi/pulumi";
import { kubeconfigVariable, setVariablePrefix, tryingCommand } from "../runtime/cli/with-candidate-words";
import { isKubeconfigContent } from "../runtime/kubernetes/kubeconfig-content";
import { packageRoot } from "../runtime/package-root";
import type { Duration } from "../runtime/units";
import type { Platform } from "./platforms";
import { sealed } from "./platforms/kubernetes/place";
import { programPackage } from "./program-package";

/**
 * A script of one's own that a release has to pass, once it is proven and before it gets traffic. Changing any of it changes nothing that
 * runs: a release that has served was accepted, and the next one is tried with what is declared then.
 */
export interface VerifyArgs {
  /**
   * For `sh -c`. It gets the address of the candidate in `COMFYUI_URL` (HTTP and WebSocket, on this machine), and `COMFYUI_RELEASE` and
   * `COMFYUI_SERVICE`. Any exit code but 0 refuses the release: the update fails with the script's output, and traffic stays where it is.
   * It is in the stack's state and seen by others on this machine: secrets belong into `environmentVariables`.
   */
  readonly command: string;
  /** How long it may take; then it is ended, and the release refused. @default "15m" */
  readonly timeout?: Duration;
  /** Further environment variables of the script. Secret values stay secret, unless the script prints them. @default {} */
  readonly environmentVariables?: Readonly<Record<string, pulumi.Input<string>>>;
  /** Folder in which it runs, relative to the program's. @default the program's folder */
  readonly workingDirectory?: string;
}

interface Tried {
  readonly service: string;
  readonly platform: Platform;
}

/** See {@link verifications}. */
interface Verification extends Tried {
  /** Id of the release to try. */
  readonly release: pulumi.Output<string>;
  readonly verify: VerifyArgs | undefined;
  readonly opts: pulumi.CustomResourceOptions;
}

/** What has to be there before a release gets traffic: a Command that runs the script when the release is new; nothing where none is declared. */
export function verifications({ service, release, platform, verify, opts }: Verification): readonly pulumi.Resource[] {
  if (verify === undefined) return [];
  const { local } = programPackage<typeof commandSdk>("@pulumi/command", "verify: { … }");
  const command = new local.Command(
    service,
    {
      create: release.apply((id) => commandLine({ service, release: id, platform, verify })),
      environment: environmentOf(platform, verify),
      // A release's own Command: another release replaces it. What else changes updates it in place, for which it runs again, and finds that
      // the release has served. Without an `update`: of triggers beside one, the plugin's documentation and its SDK say different things.
      triggers: [release],
      addPreviousOutputInEnv: false,
    },
    opts,
  );
  return [command];
}

/** What the Command's shell runs. It gives way to the program, so that a Command that is ended ends that. */
export function commandLine({
  service,
  release,
  platform,
  verify,
}: Tried & { readonly release: string; readonly verify: VerifyArgs }): string {
  const { command, timeout = "15m", workingDirectory } = verify;
  const words = [
    ...["node", commandFile(), tryingCommand, service],
    ...["--release", release, "--acceptance", "--timeout", timeout],
    ...placeOptions(platform),
    ...(workingDirectory === undefined ? [] : ["--working-directory", workingDirectory]),
    ...["--", "sh", "-c", command],
  ];
  return `exec ${words.map(quoted).join(" ")}`;
}

/**
 * The file of `pulumi-comfyui`, relative to the program's folder, which is the plugin's as well: the same on every machine, so that a stack
 * that is updated from several shows no change. A program in a process of its own (Automation API) has another folder.
 */
function commandFile(): string {
  const file = join(packageRoot(), "dist/runtime/cli/main.js");
  const [, script = ""] = process.argv;
  return /[\\/]@pulumi[\\/]pulumi[\\/]cmd[\\/]run/.test(script) ? relative(process.cwd(), file) : file;
}

function placeOptions(platform: Platform): readonly string[] {
  if (platform.kind === "local") return ["--directory", platform.directory];
  const { namespace, context, kubeconfig } = platform;
  return [
    ...["--namespace", namespace],
    ...(context === undefined ? [] : ["--context", context]),
    ...(isPlainPath(kubeconfig) ? ["--kubeconfig", kubeconfig] : []),
  ];
}

function environmentOf(platform: Platform, { environmentVariables = {} }: VerifyArgs): pulumi.Inputs {
  const kubeconfig = platform.kind === "kubernetes" ? platform.kubeconfig : undefined;
  return {
    ...Object.fromEntries(
      Object.entries(environmentVariables).map(([name, value]) => [`${setVariablePrefix}${name}`, value]),
    ),
    // Content is a secret, and of an output nobody knows yet which it is.
    ...(kubeconfig === undefined || isPlainPath(kubeconfig) ? {} : { [kubeconfigVariable]: sealed(kubeconfig) }),
  };
}

function isPlainPath(kubeconfig: pulumi.Input<string> | undefined): kubeconfig is string {
  return typeof kubeconfig === "string" && !isKubeconfigContent(kubeconfig);
}

/** As one word of a POSIX shell. */
function quoted(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
