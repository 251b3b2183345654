import { join } from "node:path";
import type { PluginRecord } from "../environment";
import { countingOf } from "./identity";
import type { KnownContent } from "./known-content";
import type { ManifestToWrite } from "./manifest-file";
import type { FrameRecord, ManifestEntry, PackRecord } from "./manifest-records";
import type { Frame, PackWriter } from "./pack-writer";
import type { Packer } from "./packer";
import type { Parts } from "./parts";
import type { Survey } from "./summary";
import { mtimeOf, type TreeEntry } from "./tree-entry";
import type { ManifestHead, ModelsMode } from "./types";
import { thisMachine } from "./virtual-environment";
import type { Tree } from "./walk";

export interface Packed {
  readonly root: string;
  readonly parts: Parts;
  readonly mode: ModelsMode;
  readonly tree: Tree;
  readonly survey: Survey;
  readonly packer: Packer;
  readonly known: KnownContent;
  readonly writer: PackWriter;
  /** How plugins behaved at the last start. */
  readonly records: readonly PluginRecord[];
}

/** The manifest of what was packed. Holds nothing that depends on when or how it was packed. */
export function buildManifest(packed: Packed): ManifestToWrite {
  const { tree, packer, known, writer } = packed;
  const used = new Set<Frame>();
  for (const { path, type } of tree.entries) {
    if (type === "file") for (const { frame } of packer.partsOf(path)) used.add(frame);
  }
  const frames = [...used].sort((a, b) => (a.pack < b.pack ? -1 : a.pack > b.pack ? 1 : a.offset - b.offset));
  const numbers = new Map(frames.map((frame, number) => [frame, number]));
  const packs = [...new Set(frames.map(({ pack }) => pack))].map((sha256): PackRecord => {
    const size = writer.sizes.get(sha256) ?? known.packs.get(sha256);
    if (size === undefined) throw new Error(`pack ${sha256} has no known size`);
    return { type: "pack", sha256, size };
  });
  const counts = countingOf(tree.entries);
  const packNumbers = new Map(packs.map(({ sha256 }, number) => [sha256, number]));
  return {
    head: headOf(packed),
    packs,
    frames: frames.map((frame) => frameRecord(frame, numberIn(packNumbers, frame.pack))),
    // One at a time: all of them are far more than what is in them.
    entries: {
      *[Symbol.iterator]() {
        for (const entry of tree.entries) yield entryRecord(entry, packer, counts(entry), numbers);
      },
    },
  };
}

function headOf({ root, parts, mode, survey, records }: Packed): ManifestHead {
  const { summary, pluginHashes, interpreter, cuda, models } = survey;
  return {
    format: 1,
    summary,
    layout: { ...parts, comfyui: parts.comfyui === "" ? "." : parts.comfyui },
    root,
    interpreter: interpreter.path,
    platform: { ...thisMachine(), python: interpreter.version, abi: interpreter.abi, cuda },
    plugins: Object.entries(pluginHashes).map(([name, contentHash]) => ({
      name,
      contentHash,
      // What is known of other content says nothing about this one.
      baseline: records.find((record) => record.name === name && record.contentHash === contentHash) ?? null,
    })),
    models: { mode, root: join(root, parts.models), files: models },
  };
}

function frameRecord({ offset, length, size, sha256 }: Frame, pack: number): FrameRecord {
  return { type: "frame", pack, offset, length, size, sha256 };
}

function entryRecord(
  { path, type, mode, stamp, target }: TreeEntry,
  packer: Packer,
  counts: boolean,
  numbers: ReadonlyMap<Frame, number>,
): ManifestEntry {
  const uncounted = counts ? {} : { counts: false as const };
  if (type === "directory") return { type, path, mode: mode.toString(8), ...uncounted };
  if (type === "link") return { type, path, target, ...uncounted };
  const content = packer.contents.get(path);
  if (content === undefined) throw new Error(`${path} was not packed`);
  return {
    type,
    path,
    mode: mode.toString(8),
    mtime: formatTime(mtimeOf(stamp)),
    size: stamp.size,
    sha256: content.sha256,
    ...(content.identity === content.sha256 ? {} : { identity: content.identity }),
    ...uncounted,
    parts: packer.partsOf(path).map(({ frame, offset, length }) => [numberIn(numbers, frame), offset, length]),
  };
}

function numberIn<T>(numbers: ReadonlyMap<T, number>, key: T): number {
  const number = numbers.get(key);
  if (number === undefined) throw new Error("something is used that is not listed");
  return number;
}

/** Seconds with nine decimals. */
function formatTime(nanoseconds: bigint): string {
  const digits = (nanoseconds < 0n ? -nanoseconds : nanoseconds).toString().padStart(10, "0");
  return `${nanoseconds < 0n ? "-" : ""}${digits.slice(0, -9)}.${digits.slice(-9)}`;
}
