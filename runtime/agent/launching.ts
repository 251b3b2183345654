import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import type { EnvironmentLocation } from "../environment";
import { comfyuiCommand, comfyuiVariables, type Exit, sourceFolder } from "../instance";
import { type AgentFolders, launcherFiles, logName, ownFolders } from "./folders";
import launcherProgram from "./launcher.py";
import { linkShared, readShared, writeShared } from "./shared-files";

/** Bytes of ComfyUI's log after which its beginning is cut off; with the earlier start's beside it, it takes at most twice as much. */
const logLimit = 16 * 2 ** 20;

/** `run.json`: a start of ComfyUI. */
export interface Run {
  /** Counts ComfyUI's starts in this pod, from 1. */
  readonly start: number;
  /** In ComfyUI's container; null for one that could not be started. */
  readonly pid: number | null;
}

/** `exit.json`: how a start ended. */
export interface RunExit extends Exit {
  readonly start: number;
}

/** `pulse.json`: what ComfyUI's processes have done since their start. */
export interface Pulse {
  readonly start: number;
  /** ISO 8601. */
  readonly at: string;
  /** Seconds computed. */
  readonly cpu: number;
  /** Bytes. */
  readonly read: number;
  readonly written: number;
}

const runSchema: z.ZodType<Run> = z.object({ start: z.int(), pid: z.int().nullable() });
const exitSchema: z.ZodType<RunExit> = z.object({
  start: z.int(),
  code: z.int().nullable(),
  signal: z.string().nullable(),
});
const pulseSchema: z.ZodType<Pulse> = z.object({
  start: z.int(),
  at: z.string(),
  cpu: z.number(),
  read: z.number(),
  written: z.number(),
});

export const readRun = (folders: AgentFolders) => readShared(launcherFiles(folders).run, runSchema);
export const readExit = (folders: AgentFolders) => readShared(launcherFiles(folders).exit, exitSchema);
export const readPulse = (folders: AgentFolders) => readShared(launcherFiles(folders).pulse, pulseSchema);

/** What of a start the environment itself does not say. */
export interface Launch {
  readonly location: EnvironmentLocation;
  /** Absolute path of the interpreter. */
  readonly python: string;
  /** Addresses that ComfyUI listens at. */
  readonly listen: readonly string[];
  readonly port: number;
  /** Further command-line arguments. */
  readonly arguments: readonly string[];
  /** Whether input, output, temp and user data are the pod's own, and not in the environment. */
  readonly ownFolders: boolean;
}

/** Writes what ComfyUI's container starts with. May be done again while it runs. */
export function writeLauncher(launch: Launch, folders: AgentFolders): void {
  const files = launcherFiles(folders);
  const { home, ...data } = ownFolders(folders);
  const { location, python, listen, port } = launch;
  const command = comfyuiCommand({
    ...location,
    ...{ python, listen, port },
    folders: launch.ownFolders ? data : null,
    arguments: launch.arguments,
  });
  mkdirSync(dirname(files.program), { recursive: true });
  linkShared(files.python, python);
  writeShared(files.program, launcherProgram);
  const start = {
    command,
    environment: {
      // The launcher puts its own container's in.
      ...comfyuiVariables(location, "$PATH"),
      HOME: home,
      // What is printed is to be seen when it is printed, also by the one that reads how a start goes.
      PYTHONUNBUFFERED: "1",
    },
    folder: sourceFolder(location),
    // Made by the launcher, so that they belong to ComfyUI's user.
    folders: launch.ownFolders ? [...Object.values(data), home] : [home],
    log: `${folders.own}/${logName}`,
    logLimit,
  };
  writeShared(files.start, `${JSON.stringify(start, null, 2)}\n`);
}
