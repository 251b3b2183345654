import { join } from "node:path";

/** Where the containers of an instance's pod keep things; the defaults are a pod's. */
export interface AgentFolders {
  /** The restored environment. @default /comfyui/environment */
  readonly environment: string;
  /** What ComfyUI writes. @default /comfyui/own */
  readonly own: string;
  /** The agent's word to the launcher and back. @default /comfyui/launcher */
  readonly launcher: string;
}

/** Files in the launcher's folder. */
export const launcherFiles = ({ launcher }: Pick<AgentFolders, "launcher">) => ({
  python: join(launcher, "python"),
  program: join(launcher, "launcher.py"),
  start: join(launcher, "start.json"),
  run: join(launcher, "run.json"),
  pulse: join(launcher, "pulse.json"),
  exit: join(launcher, "exit.json"),
  fault: join(launcher, "fault.json"),
  /** The agent's own: what has to outlive its process, since the pod may outlive that. */
  restored: join(launcher, "agent", "restored.json"),
  memory: join(launcher, "agent", "memory.json"),
  cache: join(launcher, "agent", "cache"),
});

/** Folders and files of ComfyUI's own. */
export const ownFolders = ({ own }: Pick<AgentFolders, "own">) => ({
  input: join(own, "input"),
  output: join(own, "output"),
  temp: join(own, "temp"),
  user: join(own, "user"),
  home: join(own, "home"),
});

/** In the folder of ComfyUI's own. */
export const logName = "comfyui.log";
