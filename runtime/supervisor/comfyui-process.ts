import { join } from "node:path";
import type { Layout } from "../environment";
import { loopback } from "./ports";
import type { Start } from "./processes";

/** Where an instance keeps what it writes. A workstation keeps ComfyUI's defaults inside its environment instead. */
export interface OwnFolders {
  readonly input: string;
  readonly output: string;
  readonly temp: string;
  readonly user: string;
}

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

/** ComfyUI's base directory: what holds the plugins' folder. */
export function baseDirectory(root: string, layout: Layout): string {
  return join(root, layout.plugins, "..");
}

/** How a ComfyUI process is started. */
export function comfyuiStart(start: ComfyUIStart): Start {
  const { root, layout, python, port, folders, log, mark } = start;
  const source = join(root, layout.comfyui);
  const base = baseDirectory(root, layout);
  const machine = inheritedEnvironment();
  return {
    command: python,
    arguments: [
      join(source, "main.py"),
      "--listen",
      loopback,
      "--port",
      String(port),
      ...(base === source ? [] : ["--base-directory", base]),
      ...(folders === null ? [] : folderArguments(folders)),
      ...start.arguments,
    ],
    environment: {
      ...machine,
      // As activating the virtual environment would: plugins call its programs by name.
      PATH: [join(root, layout.dependencies, "bin"), machine.PATH ?? "/usr/local/bin:/usr/bin:/bin"].join(":"),
      VIRTUAL_ENV: join(root, layout.dependencies),
      // Hubs' and compilers' caches go where a snapshot takes them along.
      XDG_CACHE_HOME: join(root, layout.cache),
      ...start.environmentVariables,
    },
    folder: source,
    log,
    mark,
  };
}

/** ComfyUI adds `temp` to the temp directory that it is given, and empties that when it starts and stops. */
function folderArguments({ input, output, temp, user }: OwnFolders): readonly string[] {
  return [
    ...["--input-directory", input],
    ...["--output-directory", output],
    ...["--temp-directory", join(temp, "..")],
    ...["--user-directory", user],
    ...["--database-url", `sqlite:///${join(user, "comfyui.db")}`],
  ];
}
