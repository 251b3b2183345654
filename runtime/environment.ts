/** Where the parts of a ComfyUI environment are, each relative to its root. */
export interface Layout {
  /** ComfyUI's own source, holding `main.py`. @default "ComfyUI" */
  readonly comfyui: string;
  /** The plugins' folder; its last segment is `custom_nodes`. @default "ComfyUI/custom_nodes" */
  readonly plugins: string;
  /** The Python virtual environment. @default "venv" */
  readonly dependencies: string;
  /** Caches that travel with a snapshot. @default ".cache" */
  readonly cache: string;
  /** Model files. @default "ComfyUI/models" */
  readonly models: string;
}

export const defaultLayout: Layout = {
  comfyui: "ComfyUI",
  plugins: "ComfyUI/custom_nodes",
  dependencies: "venv",
  cache: ".cache",
  models: "ComfyUI/models",
};

/** An environment on this machine. */
export interface EnvironmentLocation {
  /** Absolute path. */
  readonly root: string;
  readonly layout: Layout;
}

/** How a plugin behaved when a workstation last started. */
export interface PluginRecord {
  /** Folder or file name in the plugins' folder, as ComfyUI's import table prints it. */
  readonly name: string;
  /** Identity of its counted content, as `scan` computes it for the plugin's subtree; null when it was not known. */
  readonly contentHash: string | null;
  readonly state: "loaded" | "failed";
  /** Names of the node classes whose `python_module` is this plugin's, sorted. */
  readonly classes: readonly string[];
}
