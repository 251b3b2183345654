import { join } from "node:path";
import type { Layout } from "../environment";

/** Where an instance keeps what it writes. A workstation keeps ComfyUI's defaults inside its environment instead. */
export interface OwnFolders {
  readonly input: string;
  readonly output: string;
  readonly temp: string;
  readonly user: string;
}

export interface ComfyUICommand {
  readonly root: string;
  readonly layout: Layout;
  /** Absolute path of the interpreter. */
  readonly python: string;
  /** Addresses that it listens at. */
  readonly listen: readonly string[];
  readonly port: number;
  readonly folders: OwnFolders | null;
  readonly arguments: readonly string[];
}

/** ComfyUI's base directory: what holds the plugins' folder. */
export function baseDirectory(root: string, layout: Layout): string {
  return join(root, layout.plugins, "..");
}

/** The folder of ComfyUI's own source, in which it is started. */
export function sourceFolder({ root, layout }: Pick<ComfyUICommand, "root" | "layout">): string {
  return join(root, layout.comfyui);
}

/** How ComfyUI is started: the interpreter and its arguments. */
export function comfyuiCommand(command: ComfyUICommand): readonly [string, ...string[]] {
  const { root, layout, python, listen, port, folders } = command;
  const source = sourceFolder(command);
  const base = baseDirectory(root, layout);
  return [
    python,
    join(source, "main.py"),
    ...["--listen", listen.join(",")],
    ...["--port", String(port)],
    ...(base === source ? [] : ["--base-directory", base]),
    ...(folders === null ? [] : folderArguments(folders)),
    ...command.arguments,
  ];
}

/** What a start of ComfyUI adds to the machine's environment variables, as activating its virtual environment would. */
export function comfyuiVariables(
  { root, layout }: Pick<ComfyUICommand, "root" | "layout">,
  path: string,
): Readonly<Record<"PATH" | "VIRTUAL_ENV" | "XDG_CACHE_HOME", string>> {
  return {
    // Plugins call its programs by name.
    PATH: [join(root, layout.dependencies, "bin"), path].join(":"),
    VIRTUAL_ENV: join(root, layout.dependencies),
    // Hubs' and compilers' caches go where a snapshot takes them along.
    XDG_CACHE_HOME: join(root, layout.cache),
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
