import type { Layout } from "../environment";
import { comfyuiCommand, comfyuiVariables, type OwnFolders, sourceFolder } from "../instance";
import { loopback } from "./ports";
import type { Start } from "./processes";

export interface ComfyUIStart {
  readonly root: string;
  readonly layout: Layout;
  /** Absolute path of the interpreter. */
  readonly python: string;
  readonly port: number;
  readonly folders: OwnFolders | null;
  readonly arguments: readonly string[];
  readonly environmentVariables: Readonly<Record<string, string>>;
  readonly log: string;
  readonly mark: string;
}

/**
 * What a ComfyUI process gets of the supervisor's environment: the machine's ways, never a person's credentials, since plugins are
 * strangers' code.
 */
const inherited =
  /^(?:PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|SSL_CERT_(?:FILE|DIR)|(?:https?|no)_proxy|(?:CUDA|NVIDIA|HIP|HSA|ROCR|ROCM|OMP|MKL)_\w+)$/i;

/** The inherited part of this process's environment. */
export function inheritedEnvironment(): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && inherited.test(entry[0]),
    ),
  );
}

/** How a ComfyUI process is started. */
export function comfyuiStart(start: ComfyUIStart): Start {
  const { environmentVariables, log, mark } = start;
  const [command, ...parameters] = comfyuiCommand({ ...start, listen: [loopback] });
  const machine = inheritedEnvironment();
  return {
    command,
    arguments: parameters,
    environment: {
      ...machine,
      ...comfyuiVariables(start, machine.PATH ?? "/usr/local/bin:/usr/bin:/bin"),
      ...environmentVariables,
    },
    folder: sourceFolder(start),
    log,
    mark,
  };
}
