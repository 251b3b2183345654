import { join } from "node:path";
import type { Contents } from "./contents";
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

export interface Surveyed {
  readonly root: string;
  readonly parts: Parts;
  readonly mode: ModelsMode;
  readonly tree: Tree;
  /** Content of every file that travels, and of the models where they count. */
  readonly contents: Contents;
}

export function surveyOf({ root, parts, mode, tree, contents }: Surveyed): Survey {
  const { entries } = tree;
  const facts = new Facts(contents);
  const counted = () =>
    mode === "locked" ? withLocks(tree, contents, root) : countedEntries(tree.entries, contents, root);
  const identity = new IdentityHash();
  const inPlugins: CountedEntry[] = [];
  for (const entry of counted()) {
    identity.add(entry);
    if (isWithin(entry.path, parts.plugins)) inPlugins.push(entry);
  }
  const { hashes, remarks } = findPlugins(root, parts, entries, inPlugins);
  const configuration = facts.get<VirtualEnvironment>(joinPath(parts.dependencies, "pyvenv.cfg"));
  const interpreter = interpreterOf(join(root, parts.dependencies), configuration);
  const plugins = Object.entries(hashes).map(([name, hash]) => {
    const project = facts.get<string>(`${joinPath(parts.plugins, name)}/pyproject.toml`);
    return [name, pluginVersion(root, parts, name, project, hash)] as const;
  });
  const summary: EnvironmentSummary = {
    id: identity.digest(),
    plugins: Object.fromEntries(plugins),
    distributions: distributions(entries, facts, parts),
    python: interpreter.version,
    comfyui:
      facts.get<string>(joinPath(parts.comfyui, "comfyui_version.py")) ??
      facts.get<string>(joinPath(parts.comfyui, "pyproject.toml")) ??
      "unknown",
    files: entries.length,
    bytes: entries.reduce((sum, { type, stamp }) => sum + (type === "file" ? stamp.size : 0), 0),
  };
  return {
    summary,
    counted,
    pluginHashes: hashes,
    interpreter,
    cuda: torchCuda(entries, facts, parts),
    models: tree.models.map((entry) => modelFile(entry, parts, contents)),
    remarks: [...tree.remarks, ...remarks],
  };
}

function withLocks({ entries, models }: Tree, contents: Contents, root: string): readonly CountedEntry[] {
  const counted = [...countedEntries(entries, contents, root), ...countedEntries(models.map(asLock), contents, root)];
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

function modelFile({ path, stamp }: TreeEntry, parts: Parts, contents: Contents): ModelFile {
  const file = { path: path.slice(parts.models.length + 1), size: stamp.size };
  const content = contents.get(path);
  return content === undefined ? file : { ...file, sha256: content.sha256 };
}

function distributions(entries: readonly TreeEntry[], facts: Facts, parts: Parts): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const { path } of entries) {
    if (!/(\/METADATA|\.egg-info|\/PKG-INFO)$/.test(path)) continue;
    const inside = insidePackages(path, parts);
    if (inside === null || !/^[^/]+\.(dist-info\/METADATA|egg-info|egg-info\/PKG-INFO)$/.test(inside)) continue;
    const distribution = facts.get<Distribution>(path);
    if (distribution !== null) found[distribution.name] = distribution.version;
  }
  return sortedByKey(found);
}

function torchCuda(entries: readonly TreeEntry[], facts: Facts, parts: Parts): string | null {
  const version = entries.find(
    ({ path }) => path.endsWith("/torch/version.py") && insidePackages(path, parts) === "torch/version.py",
  );
  return version === undefined ? null : facts.get<string>(version.path);
}
