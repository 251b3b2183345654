import { readFileSync } from "node:fs";
import { join } from "node:path";
import ignore, { type Ignore } from "ignore";
import { type Part, type Parts, personalFolders } from "./parts";
import { below } from "./paths";

/** A person's own rules, in the syntax of `.gitignore`, at the environment's root. It travels, and does not count. */
export const ignoreFile = ".comfyuiignore";

/**
 * What becomes of a path. `counts`: it travels and is part of the identity. `derived`: it travels but is not.
 * `out`: it does not travel. `credential`: it never travels, and the person is told.
 */
export type Verdict = "counts" | "derived" | "out" | "credential";

/** This package's own folder, where a program's platform and store are unless it says otherwise. */
export const ownFolder = ".comfyui";

const versionControl = new Set([".git", ".hg", ".svn", ".bzr"]);

const credentialFolders = new Set([".ssh", ".aws", ".gnupg"]);
const credentialFiles = new Set([
  ".netrc",
  "_netrc",
  ".git-credentials",
  ".pypirc",
  ".npmrc",
  ".boto",
  ".s3cfg",
  ".pgpass",
  ".env",
  "kaggle.json",
  "id_rsa",
  "id_dsa",
  "id_ecdsa",
  "id_ed25519",
]);
/** Hugging Face's and ModelScope's tokens, and what command-line tools of clouds and clusters keep. */
const credentialPaths =
  /(^|\/)(\.?huggingface\/(token|stored_tokens)|\.?modelscope\/credentials|\.config\/gcloud|\.azure\/[^/]*token[^/]*|\.kube\/config|\.docker\/config\.json)$/i;
const harmlessEnvFiles = /^\.env\.(example|sample|template|dist|default)$/;
/** Outside the virtual environment, whose packages bring certificates and test keys; may be let in again by `!` rules. */
const keyFiles =
  /(\.(key|p12|pfx|jks|keystore)|^(?!(ca-?cert|ca-?certs?|ca-?bundle|cacerts?)[.-]).*\.pem|^credentials\.json)$/i;

/** Left by editors, tools and downloads that were cut short; by name, outside the virtual environment. */
const volatileNames = new Set([
  ".DS_Store",
  "Thumbs.db",
  "desktop.ini",
  ".ipynb_checkpoints",
  ".pytest_cache",
  ".mypy_cache",
  ".ruff_cache",
  ".idea",
  ".vscode",
  ".Trash",
  "nohup.out",
]);
const volatileEndings =
  /(\.log|\.log\.\d+|\.pid|\.swp|\.swo|~|\.tmp|\.temp|\.part|\.partial|\.incomplete|\.crdownload|\.aria2|\.!qB)$/;

/** Folders in the cache that tools make anew by themselves, change at every run, or that belong to the machine. */
const volatileCaches = new Set([
  "pip",
  "uv",
  "pypoetry",
  "conda",
  "huggingface/xet",
  "huggingface/assets",
  "huggingface/hub/.locks",
  "huggingface/.check_for_update_done",
  "huggingface/logs",
  "torch/inductor",
  "torch/kernels",
  "torchinductor",
  "triton",
  "nvidia",
  "NVIDIA",
  "ComputeCache",
  "mesa_shader_cache",
  "mesa_shader_cache_db",
  "fontconfig",
  "matplotlib",
  "thumbnails",
  "mozilla",
  "google-chrome",
  "chromium",
  "node",
  "npm",
  "yarn",
  "pulumi-comfyui",
]);
const volatileCacheNames = /^(torchinductor_.*|\.locks|\.triton)$/;
const cacheLocks = /\.lock$/;

/** Decides for every path of an environment what becomes of it. Rules and their reasons: docs/store-format.md, "What travels". */
export class TravelRules {
  readonly #parts: Parts;
  readonly #personal: ReadonlySet<string>;
  readonly #own: Ignore | null;

  /** `own`: the text of the environment's {@link ignoreFile}, or null. */
  constructor(parts: Parts, own: string | null) {
    this.#parts = parts;
    this.#personal = personalFolders(parts);
    this.#own = own === null ? null : ignore({ ignoreCase: false }).add(own);
  }

  static of(root: string, parts: Parts): TravelRules {
    return new TravelRules(parts, readOwnRules(root));
  }

  /** `part` is the innermost part that the path is in. Roots of parts are not asked about: they always travel. */
  judge(path: string, name: string, isFolder: boolean, part: Part): Verdict {
    if (versionControl.has(name)) return "out";
    if (isCredential(path, name, isFolder)) return "credential";
    const own = this.#own?.test(isFolder ? `${path}/` : path);
    if (own?.ignored) return "out";
    if (own?.unignored !== true) {
      if (part !== "dependencies" && !isFolder && keyFiles.test(name)) return "credential";
      if (this.#isVolatile(path, name, part)) return "out";
    }
    return isDerived(name, isFolder, part) ? "derived" : "counts";
  }

  #isVolatile(path: string, name: string, part: Part): boolean {
    if (part === "dependencies") {
      // pip.conf may hold an index's password, and only pip reads it; uv keeps its lock in the environment.
      return (name === "pip.conf" || name === ".lock") && below(path, this.#parts.dependencies) === name;
    }
    if (path === ownFolder || this.#personal.has(path)) return true;
    if (volatileNames.has(name) || volatileEndings.test(name)) return true;
    if (part === "plugins") return /^comfyui-manager\/\.cache$/i.test(below(path, this.#parts.plugins));
    if (part !== "cache") return false;
    return volatileCaches.has(below(path, this.#parts.cache)) || volatileCacheNames.test(name) || cacheLocks.test(name);
  }
}

/** The names that {@link credentialPaths} ends in: most paths need not be looked at any closer. */
const credentialNames = /token|^(credentials|gcloud|config|config\.json)$/i;

function isCredential(path: string, name: string, isFolder: boolean): boolean {
  if (credentialNames.test(name) && credentialPaths.test(path)) return true;
  if (isFolder) return credentialFolders.has(name);
  return credentialFiles.has(name) || (name.startsWith(".env.") && !harmlessEnvFiles.test(name));
}

/** Python makes byte code by itself; hub clients note which files a repository lacks when they look for them. */
function isDerived(name: string, isFolder: boolean, part: Part): boolean {
  if (isFolder) return name === "__pycache__" || (part === "cache" && name === ".no_exist");
  return name.endsWith(".pyc");
}

/** The text of an environment's {@link ignoreFile}, or null where there is none. */
export function readOwnRules(root: string): string | null {
  try {
    return readFileSync(join(root, ignoreFile), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}
