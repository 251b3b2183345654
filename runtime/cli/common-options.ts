import { statSync } from "node:fs";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { defaultLayout, type EnvironmentLocation, type Layout } from "../environment";
import { InvalidInputError } from "../problems";
import type { ModelsMode } from "../snapshot";
import { formatReference, parseReference } from "../snapshot/reference";
import type { StoreSettings } from "../store";
import { isS3Location, parseS3Location } from "../store/s3-location";
import type { OutputOptions } from "./output";

/** Options that every command has. */
export function withCommonOptions(command: Command): Command {
  return command.option("--json", "write one JSON document to stdout").option("--quiet", "show no progress");
}

/** How a store in a bucket is reached; what they leave open, the AWS SDK finds. */
export interface StoreOptions extends OutputOptions {
  readonly region?: string;
  readonly endpoint?: string;
  readonly pathStyle?: boolean;
}

/** Options of commands that read or write a store. */
export function withStoreOptions(command: Command): Command {
  return command
    .option("--region <region>", "region of a store in a bucket (default: AWS_REGION, or the profile's)")
    .option("--endpoint <url>", "server of a store in a bucket, where it is not AWS")
    .option("--path-style", "name the bucket in the URL's path (default with --endpoint)")
    .option("--no-path-style", "name the bucket in the URL's host");
}

/** Settings of a store in a bucket. Credentials are never options: others on the machine see a command's arguments. */
export function storeSettingsFrom({ region, endpoint, pathStyle }: StoreOptions): StoreSettings {
  return {
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
  };
}

const layoutDescriptions: Readonly<Record<keyof Layout, string>> = {
  comfyui: "ComfyUI's source",
  plugins: "the plugins' folder",
  dependencies: "the Python virtual environment",
  cache: "caches that travel with a snapshot",
  models: "model files",
};

export interface EnvironmentOptions extends OutputOptions {
  readonly models?: ModelsMode;
  readonly layoutComfyui?: string;
  readonly layoutPlugins?: string;
  readonly layoutDependencies?: string;
  readonly layoutCache?: string;
  readonly layoutModels?: string;
}

export interface ScanOptions extends EnvironmentOptions, StoreOptions {
  /** True without a reference. */
  readonly explain?: string | true;
  readonly store?: string;
}

/** Options that say how a folder is read as an environment. */
export function withEnvironmentOptions(command: Command): Command {
  command.addOption(
    new Option("--models <mode>", "how model files count and travel (default: referenced)").choices([
      "referenced",
      "locked",
      "included",
    ]),
  );
  for (const part of Object.keys(defaultLayout) as (keyof Layout)[]) {
    command.option(`--layout-${part} <path>`, `${layoutDescriptions[part]} (default: ${defaultLayout[part]})`);
  }
  return command;
}

/** The environment that a folder and the layout options mean; what they leave open is as in `layout`. */
export function environmentFrom(
  folder: string,
  cwd: string,
  options: EnvironmentOptions,
  layout: Layout = defaultLayout,
): EnvironmentLocation {
  const root = resolve(cwd, folder);
  if (!isFolder(root)) {
    throw new InvalidInputError([{ path: "FOLDER", reason: `${root} is not a folder; give the environment's root` }]);
  }
  return {
    root,
    layout: {
      comfyui: options.layoutComfyui ?? layout.comfyui,
      plugins: options.layoutPlugins ?? layout.plugins,
      dependencies: options.layoutDependencies ?? layout.dependencies,
      cache: options.layoutCache ?? layout.cache,
      models: options.layoutModels ?? layout.models,
    },
  };
}

export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** A reference as a person may write it, its store relative to the current folder, as the snapshot engine takes it. */
export function absoluteReference(text: string, cwd: string, path = "REFERENCE"): string {
  const hash = text.lastIndexOf("#");
  const absolute = hash > 0 && !isS3Location(text) ? `${resolve(cwd, text.slice(0, hash))}${text.slice(hash)}` : text;
  try {
    return formatReference(parseReference(absolute));
  } catch (error) {
    throw new InvalidInputError([{ path, reason: error instanceof Error ? error.message : String(error) }]);
  }
}

/** A store as a person may write it, a folder relative to the current one; it need not be there. */
export function storeLocation(text: string, cwd: string, path = "STORE"): string {
  if (!isS3Location(text)) return resolve(cwd, text);
  try {
    parseS3Location(text);
    return text;
  } catch (error) {
    throw new InvalidInputError([{ path, reason: error instanceof Error ? error.message : String(error) }]);
  }
}

/** A store as a person may write it; a folder has to be there. */
export function existingStore(text: string, cwd: string): string {
  const store = storeLocation(text, cwd);
  if (!isS3Location(store) && !isFolder(store))
    throw new InvalidInputError([{ path: "STORE", reason: `${store} is not a folder` }]);
  return store;
}
