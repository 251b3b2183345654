import type { EnvironmentLocation, Layout, PluginRecord } from "../environment";
import type { StoreSettings } from "../store";
import type { Watch } from "../waiting";
import type { RestoreLimits } from "./limits";

/**
 * How a snapshot treats model files. `referenced`: they do not travel; path and size are recorded and checked where an
 * instance starts. `locked`: their content hashes are recorded as well and count for the id. `included`: they travel.
 */
export type ModelsMode = "referenced" | "locked" | "included";

/** A snapshot that a person can pin: the store, and the digest of the manifest in it. */
export interface SnapshotReference {
  /** Absolute folder path, or `s3://bucket/prefix`. */
  readonly store: string;
  /** SHA-256 of the stored manifest, 64 hex digits. */
  readonly digest: string;
}

export interface ScanRequest extends Partial<Watch> {
  readonly environment: EnvironmentLocation;
  readonly models: ModelsMode;
  /** File of the stat index; a missing or damaged one only costs a full read. Default: one for each root in the user's cache folder. */
  readonly index?: string;
}

/** What a person wants to see of an environment, small enough for a Pulumi resource's inputs. Every map is sorted by key. */
export interface EnvironmentSummary {
  /** Identity of the counted content, 64 hex digits. */
  readonly id: string;
  /** Plugin → what tells its version: a version of pyproject.toml, a git commit, else a short content hash; see `PluginSummary`. */
  readonly plugins: Readonly<Record<string, string>>;
  /** Python distribution (normalised name) → version. */
  readonly distributions: Readonly<Record<string, string>>;
  /** For example `3.11.7`. */
  readonly python: string;
  /** ComfyUI's version as its source says, or `unknown`. */
  readonly comfyui: string;
  /** Entries of all kinds that travel, and the bytes of the regular files among them. */
  readonly files: number;
  readonly bytes: number;
}

export interface Scan {
  readonly summary: EnvironmentSummary;
  /** Plugin name → SHA-256 over the counted content of its subtree. The same hash as in the manifest's plugin records. */
  readonly pluginHashes: Readonly<Record<string, string>>;
  /** Bytes of content that this scan had to read; 0 when nothing changed since the index was written. */
  readonly bytesRead: number;
  /** What a person should know, for example a hidden folder inside the plugins' folder. */
  readonly remarks: readonly string[];
}

/** A scan that also says what the id is made of. */
export interface CountedScan extends Scan {
  /** Counted paths with what counts of them, sorted by path: what `scan --explain` compares. */
  readonly counted: readonly CountedEntry[];
}

export interface CountedEntry {
  /** Relative to the environment's root, `/` as separator. */
  readonly path: string;
  readonly type: "file" | "directory" | "link";
  readonly executable: boolean;
  /** SHA-256 of a file's content, a link's target, or empty for a directory. */
  readonly content: string;
}

/** The machine that an environment was made for. */
export interface EnvironmentPlatform {
  readonly os: string;
  readonly arch: string;
  /** For example `2.36`, or null where there is none. */
  readonly glibc: string | null;
  readonly python: string;
  /** SOABI, for example `cpython-311-x86_64-linux-gnu`. */
  readonly abi: string;
  /** CUDA build of the installed torch, for example `13.0`, or null. */
  readonly cuda: string | null;
}

export interface ModelFile {
  /** Relative to the models' folder. */
  readonly path: string;
  readonly size: number;
  /** Only in `locked` and `included` mode. */
  readonly sha256?: string;
}

/** The first record of a manifest. */
export interface ManifestHead {
  readonly format: 2;
  readonly summary: EnvironmentSummary;
  readonly layout: Layout;
  /** Absolute root at packing time; a restore elsewhere rewrites the known places that name it. */
  readonly root: string;
  /** Absolute path of the base interpreter that the virtual environment was made with (`pyvenv.cfg`: home). */
  readonly interpreter: string;
  readonly platform: EnvironmentPlatform;
  /** Every plugin by name: its content hash, and its state and classes at the workstation's last start where they are known for this content. */
  readonly plugins: readonly SnapshotPlugin[];
  readonly models: { readonly mode: ModelsMode; readonly root: string; readonly files: readonly ModelFile[] };
}

export interface SnapshotPlugin {
  readonly name: string;
  readonly contentHash: string;
  /** Null when the workstation has not started with it. */
  readonly baseline: PluginRecord | null;
}

export interface PackRequest extends ScanRequest {
  /** Absolute folder path, made where it is missing; or `s3://bucket/prefix`. */
  readonly store: string;
  /** For a store in a bucket. @default what the AWS SDK finds */
  readonly settings?: StoreSettings;
  /** How plugins behaved at the workstation's last start; records of other content are left out. */
  readonly plugins: readonly PluginRecord[];
  /** Threads that read and compress where there is much to pack; the snapshot is the same with any number. @default one for each processor */
  readonly threads?: number;
  /**
   * Identity that the content has to have: where it is another one, no manifest is written, so that there is no snapshot that nobody asked
   * for. @default any
   */
  readonly expectedId?: string;
  /**
   * Whether the environment is another container's, so that the interpreter it was made with need not be here, and what this one's C
   * library is tells nothing.
   * @default false
   */
  readonly usedElsewhere?: boolean;
}

export interface PackedSnapshot {
  /** `<store>#sha256:<digest>`. */
  readonly reference: string;
  readonly digest: string;
  readonly head: ManifestHead;
  /** Content bytes that the store lacked, and what they took there. */
  readonly bytesAdded: number;
  readonly bytesStored: number;
}

/** An environment changed while it was being packed. Names what did. */
export class ChangedWhilePackingError extends Error {
  override readonly name = "ChangedWhilePackingError";
  constructor(readonly paths: readonly string[]) {
    super(
      `the environment changed while it was packed: ${paths.slice(0, 10).join(", ")}` +
        `${paths.length > 10 ? ` and ${paths.length - 10} more` : ""}; save and stop what writes there, then run again`,
    );
  }
}

/** What was found is not what was to be packed. Says what it is; nothing was published. */
export class UnexpectedContentError extends Error {
  override readonly name = "UnexpectedContentError";
  constructor(
    readonly expectedId: string,
    readonly found: EnvironmentSummary,
  ) {
    super(`the environment is not what was to be packed: ${expectedId.slice(0, 12)} became ${found.id.slice(0, 12)}`);
  }
}

/** A folder of complete restores that outlives the containers of a node, and that several of them use at once. */
export interface NodeCache {
  /** Absolute path, the same folder in all of them. Its file system tells of links and times as those of Linux do. */
  readonly folder: string;
  /** How many restores stay there when another one comes; those that somebody uses stay in any case. At least 1. */
  readonly keep: number;
  /** Part of the folder's file system that stays free: no further restore is kept where less would be. @default 0.1 */
  readonly reserve?: number;
}

export interface RestoreRequest extends Partial<Watch> {
  /** `<store>#sha256:<digest>`, the store an absolute path or `s3://bucket/prefix`. */
  readonly reference: string;
  /** For a store in a bucket. @default what the AWS SDK finds */
  readonly settings?: StoreSettings;
  /** Absolute path that does not exist yet, or is an empty folder. It gets its name only when the restore is complete. */
  readonly target: string;
  /**
   * Accept a `target` that an earlier restore without a cache has filled on this machine and that nothing uses now, and write only what
   * differs. Meanwhile, and after a kill until it is done again, the folder is marked as incomplete and refused by a scan and a pack.
   * What travels and is not in the snapshot is removed from it, a folder with all it holds; what never travels stays. `cache` is then
   * not used.
   * @default false
   */
  readonly over?: boolean;
  /**
   * Fill the folder `target` itself, for example the mount point of a volume, which cannot get its name at the end. Meanwhile, and after a
   * kill until it is done again, it is marked as incomplete and refused by a scan and a pack. A folder that is filled must
   * be such an incomplete one, or what a restore on this machine has made; then only what differs is written, as with `over`. Nobody else may
   * restore into it at the same time: a restore of another container that is marked there is taken for one that was killed. `cache` is
   * not used.
   * @default false
   */
  readonly inPlace?: boolean;
  /**
   * Whether only programs of another container or machine will use the environment, so that it is not asked whether its interpreter
   * is here, nor told what of this machine's differs.
   * @default false
   */
  readonly usedElsewhere?: boolean;
  /**
   * Where the environment will finally be found, when that is not `target`: the known places that hold absolute paths are written for it.
   */
  readonly location?: string;
  /**
   * Folder of complete restores by digest. With it, `target` is made from the cached restore (made first where it is missing, one
   * process at a time): files of the virtual environment and of ComfyUI's source are hard links to it, everything else, what is
   * rewritten for the location, and where linking is impossible, private copies. Never a link into the store.
   */
  readonly cache?: string;
  /**
   * Write files as copies of those of a complete restore on the same node, which is made first where there is none. Other than with `cache`,
   * processes of other containers may use the folder at the same time, `target` may be filled in place, and nothing of it is shared with
   * `target` but, where the file system can, blocks until one of them is written to. Each file is compared with its hash, so that it does not
   * matter what has become of the folder: what it does not give is read from the store, and a remark says so. Not together with `cache`.
   */
  readonly nodeCache?: NodeCache;
  /**
   * Patterns with the syntax of `.gitignore`: only what matches is restored, and the folders above it. What comes of it is no complete
   * environment. No cache is used then.
   */
  readonly include?: readonly string[];
  /** Limits that differ from the usual ones. */
  readonly limits?: Partial<RestoreLimits>;
}

export interface RestoredEnvironment {
  readonly head: ManifestHead;
  readonly location: EnvironmentLocation;
  /** Absolute path of the restored environment's interpreter. */
  readonly python: string;
  /** Entries that were restored and that the snapshot has, where `include` left some out; null for a complete environment. */
  readonly partial: { readonly entries: number; readonly of: number } | null;
  /** What was rewritten or is different here than where the snapshot was made, for a person to read. */
  readonly remarks: readonly string[];
}

export interface ListedSnapshot {
  readonly reference: string;
  readonly digest: string;
  /** When its manifest was written to this store, by the store's clock. ISO 8601. */
  readonly storedAt: string;
  readonly summary: EnvironmentSummary;
}

export interface VerifyRequest extends Partial<Watch> {
  readonly reference: string;
  /** For a store in a bucket. @default what the AWS SDK finds */
  readonly settings?: StoreSettings;
  /** Hash every byte; otherwise only presence and size of every object. */
  readonly deep: boolean;
}

export interface Verification {
  readonly reference: string;
  readonly packs: number;
  readonly bytesRead: number;
  /** Empty when the snapshot can be restored. */
  readonly problems: readonly string[];
}

/** Thrown where a reference names nothing, or what it names is not what its digest says. */
export class SnapshotNotFoundError extends Error {
  override readonly name = "SnapshotNotFoundError";
}
/** A snapshot that is whole cannot, or must not, be restored here: it exceeds a limit, or the target cannot hold it. */
export class RestoreRefusedError extends Error {
  override readonly name = "RestoreRefusedError";
}
export class DamagedSnapshotError extends Error {
  override readonly name = "DamagedSnapshotError";
}
