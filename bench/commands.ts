import { join } from "node:path";
import type { Command } from "./measure";

/** This package's command, compiled; each call is a process of its own. */
export class Ours {
  /** The bundled `throttling-proxy-main.ts`. */
  readonly proxyProgram: string;
  readonly #cli: string;
  readonly #engineScript: string;
  readonly #engine: string;

  /** `scripts` is the folder of the bundled scripts of this bench. */
  constructor(
    readonly repository: string,
    scripts: string,
  ) {
    this.#cli = join(repository, "dist", "runtime", "cli", "main.js");
    this.#engine = join(repository, "dist", "runtime", "snapshot", "index.js");
    this.#engineScript = join(scripts, "engine.cjs");
    this.proxyProgram = join(scripts, "throttling-proxy-main.cjs");
  }

  /** `state` holds what one user of the package keeps: `cache`, and the store. */
  scan(tree: string, state: string): Command {
    return this.#command(["scan", tree, "--json", "--quiet"], state);
  }

  pack(tree: string, state: string): Command {
    return this.#command(["pack", tree, "--store", storeOf(state), "--quiet"], state);
  }

  restore(reference: string, target: string, state: string): Command {
    return this.#command(["restore", reference, target, "--quiet"], state);
  }

  /** Over an earlier restore, of which only what differs is written. */
  restoreOver(reference: string, target: string, state: string): Command {
    return this.#command(["restore", reference, target, "--over", "--quiet"], state);
  }

  /** What the command line does not offer: the engine's functions with any of their options. They print what they answer. */
  engine(
    name: "pack" | "restore",
    request: Readonly<Record<string, unknown>>,
    state: string,
    env: Readonly<Record<string, string>> = {},
  ): Command {
    const argv = [process.execPath, this.#engineScript, this.#engine, name, JSON.stringify(request)];
    return { argv, env: { ...this.#env(state), ...env } };
  }

  #command(args: readonly string[], state: string): Command {
    return { argv: [process.execPath, this.#cli, ...args], env: this.#env(state) };
  }

  #env(state: string) {
    return { XDG_CACHE_HOME: join(state, "cache") };
  }
}

export const storeOf = (state: string) => join(state, "store");

/** restic with its defaults; `state` holds its repository and its cache. */
export const restic = {
  init: (state: string) => resticCommand(state, ["init"]),
  backup: (tree: string, state: string) => resticCommand(state, ["backup", tree]),
  restore: (state: string, target: string) => resticCommand(state, ["restore", "latest", "--target", target]),
};

function resticCommand(state: string, args: readonly string[]): Command {
  const where = ["--repo", join(state, "repository"), "--cache-dir", join(state, "cache"), "--quiet"];
  return { argv: ["restic", ...where, ...args], env: { RESTIC_PASSWORD: "bench" } };
}

/** borg with its defaults, without encryption; `state` holds its repository and its caches. */
export const borg = {
  init: (state: string) => borgCommand(state, ["init", "--encryption", "none", repositoryOf(state)]),
  create: (tree: string, state: string, archive: string) =>
    borgCommand(state, ["create", `${repositoryOf(state)}::${archive}`, tree]),
};

const repositoryOf = (state: string) => join(state, "repository");

function borgCommand(state: string, args: readonly string[]): Command {
  return {
    argv: ["borg", ...args],
    env: { BORG_BASE_DIR: join(state, "base"), BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: "yes" },
  };
}

/** The folders of an environment's default layout. */
const parts = ["ComfyUI", "venv", ".cache"];

export const tar = {
  create: (tree: string, file: string) =>
    shell(`tar -C "$1" -cf - ${parts.join(" ")} | zstd -q -1 -T2 -f -o "$2"`, [tree, file]),
  extract: (file: string, target: string) =>
    shell(`mkdir "$2" && zstd -q -d -c "$1" | tar -C "$2" -xf -`, [file, target]),
  /** Reads everything once. */
  read: (tree: string) => shell(`tar -C "$1" -cf - . | cat > /dev/null`, [tree]),
};

export const find = (tree: string): Command => ({
  argv: ["find", tree, "-printf", "%p %y %m %s %T@ %C@ %i %l\\n"],
  discard: true,
});

export const linkTree = (from: string, to: string): Command => ({ argv: ["cp", "-al", from, to] });

export function shell(script: string, args: readonly string[]): Command {
  return { argv: ["bash", "-o", "pipefail", "-c", script, "bench", ...args] };
}
