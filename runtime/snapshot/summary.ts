import { join } from "node:path";
import type { Contents } from "./contents";
import { EntryTable, newEntryOf } from "./entry-table";
import { type Distribution, insidePackages, type VirtualEnvironment } from "./facts";
import { countedEntries, IdentityHash } from "./identity";
import type { Parts } from "./parts";
import { compareBytes, isWithin, joinPath } from "./paths";
import { findPlugins, pluginVersion, sortedByKey } from "./plugins";
import type { TreeEntry } from "./tree-entry";
import type { CountedEntry, EnvironmentSummary, ModelFile, ModelsMode } from "./types";
import { type Interpreter, interpreterOf } from "./virtual-environment";
import type { Tree } from "./walk";

/** Everything that is known of an environment once what travels of it was read. */
export interface Survey {
  readonly summary: EnvironmentSummary;
  /** What counts, sorted by path; made anew each time, since few want it. */
  readonly counted: () => Iterable<CountedEntry>;
  readonly pluginHashes: Readonly<Record<string, string>>;
  readonly interpreter: Interpreter;
  /** CUDA build of the installed torch. */
  readonly cuda: string | null;
  readonly models: readonly ModelFile[];
  readonly remarks: readonly string[];
}

/** What follows from a tree and its contents alone, as JSON can hold it: it stays true as long as those do. */
export interface Identified extends Pick<EnvironmentSummary, "id" | "distributions" | "comfyui" | "files" | "bytes"> {
  /** Sorted by name; `project` is the version that its pyproject.toml says. */
  readonly plugins: readonly { readonly name: string; readonly hash: string; readonly project: string | null }[];
  readonly pluginRemarks: readonly string[];
  readonly configuration: VirtualEnvironment | null;
  readonly cuda: string | null;
  /** False where something outside of the tree had a say. */
  readonly lasting: boolean;
}

interface Seen {
  readonly root: string;
  readonly parts: Parts;
  readonly mode: ModelsMode;
  readonly tree: Tree;
}

export interface Surveyed extends Seen {
  readonly identified: Identified;
  /** Null where they are not known, and neither what counts nor the models' hashes will be asked for. */
  readonly contents: Contents | null;
}

/** Finds out what a tree is. */
export function identify({ root, parts, mode, tree, contents }: Seen & { readonly contents: Contents }): Identified {
  const { entries } = tree;
  const facts = new Facts(contents);
  const identity = new IdentityHash();
  const inPlugins: CountedEntry[] = [];
  for (const entry of countedIn({ root, mode, tree }, contents)) {
    identity.add(entry);
    if (isWithin(entry.path, parts.plugins)) inPlugins.push(entry);
  }
  const { hashes, remarks, lasting } = findPlugins(root, parts, entries, inPlugins);
  let bytes = 0;
  for (let row = 0; row < entries.length; row++) if (entries.isFile(row)) bytes += entries.size(row);
  return {
    id: identity.digest(),
    plugins: Object.entries(hashes).map(([name, hash]) => {
      return { name, hash, project: facts.get<string>(`${joinPath(parts.plugins, name)}/pyproject.toml`) };
    }),
    pluginRemarks: remarks,
    distributions: distributions(entries, facts, parts),
    configuration: facts.get<VirtualEnvironment>(joinPath(parts.dependencies, "pyvenv.cfg")),
    comfyui:
      facts.get<string>(joinPath(parts.comfyui, "comfyui_version.py")) ??
      facts.get<string>(joinPath(parts.comfyui, "pyproject.toml")) ??
      "unknown",
    cuda: torchCuda(entries, facts, parts),
    files: entries.length,
    bytes,
    lasting,
  };
}

/** What is known of an environment, with what is found beside its tree: the commits of plugins and the interpreter. */
export function surveyOf({ root, parts, mode, tree, identified, contents }: Surveyed): Survey {
  const { id, plugins, distributions, comfyui, files, bytes, configuration, cuda, pluginRemarks } = identified;
  const interpreter = interpreterOf(join(root, parts.dependencies), configuration);
  const versions = plugins.map(({ name, hash, project }) => {
    return [name, pluginVersion(root, parts, name, project, hash)] as const;
  });
  const python = interpreter.version;
  return {
    summary: { id, plugins: Object.fromEntries(versions), distributions, python, comfyui, files, bytes },
    counted: () => {
      if (contents === null) throw new Error("what the files hold was not looked at");
      return countedIn({ root, mode, tree }, contents);
    },
    pluginHashes: Object.fromEntries(plugins.map(({ name, hash }) => [name, hash])),
    interpreter,
    cuda,
    models: tree.models.map((entry) => modelFile(entry, parts, contents)),
    remarks: [...tree.remarks, ...pluginRemarks],
  };
}

function countedIn({ root, mode, tree }: Omit<Seen, "parts">, contents: Contents): Iterable<CountedEntry> {
  return mode === "locked" ? withLocks(tree, contents, root) : countedEntries(tree.entries, contents, root);
}

function withLocks({ entries, models }: Tree, contents: Contents, root: string): readonly CountedEntry[] {
  const counted = [
    ...countedEntries(entries, contents, root),
    ...countedEntries(EntryTable.of(models.map(asLock).map(newEntryOf)), contents, root),
  ];
  return counted.sort((a, b) => compareBytes(a.path, b.path));
}

class Facts {
  readonly #contents: Contents;

  constructor(contents: Contents) {
    this.#contents = contents;
  }

  get<T>(path: string): T | null {
    const row = this.#contents.row(path);
    const fact = row === undefined ? null : this.#contents.table.fact(row);
    return fact === null ? null : (JSON.parse(fact) as T);
  }
}

/** A model's place, size and content count in mode `locked`; its permissions are those of a volume that many share. */
function asLock(entry: TreeEntry): TreeEntry {
  return { ...entry, mode: 0o644, counts: true };
}

function modelFile({ path, stamp }: TreeEntry, parts: Parts, contents: Contents | null): ModelFile {
  const file = { path: path.slice(parts.models.length + 1), size: stamp.size };
  const content = contents?.get(path);
  return content === undefined ? file : { ...file, sha256: content.sha256 };
}

function distributions(entries: EntryTable, facts: Facts, parts: Parts): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const path of entries.paths) {
    if (!/(\/METADATA|\.egg-info|\/PKG-INFO)$/.test(path)) continue;
    const inside = insidePackages(path, parts);
    if (inside === null || !/^[^/]+\.(dist-info\/METADATA|egg-info|egg-info\/PKG-INFO)$/.test(inside)) continue;
    const distribution = facts.get<Distribution>(path);
    if (distribution !== null) found[distribution.name] = distribution.version;
  }
  return sortedByKey(found);
}

function torchCuda({ paths }: EntryTable, facts: Facts, parts: Parts): string | null {
  const version = paths.find(
    (path) => path.endsWith("/torch/version.py") && insidePackages(path, parts) === "torch/version.py",
  );
  return version === undefined ? null : facts.get<string>(version);
}
