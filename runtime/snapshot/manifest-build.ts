import { join } from "node:path";
import type { PluginRecord } from "../environment";
import { type BaseEntries, type BaseHead, type Change, PackedBase } from "./base-entries";
import type { CataloguedContent } from "./content-catalog";
import { digestSize } from "./digest-table";
import type { KnownContent } from "./known-content";
import type { FrameRecord, PackRecord } from "./manifest-records";
import { baseText, frameText, openEntryText, packText, removedText } from "./manifest-text";
import type { Frame, PackWriter } from "./pack-writer";
import type { PackedEntries } from "./packed-entries";
import type { Packer } from "./packer";
import type { Parts } from "./parts";
import type { Survey } from "./summary";
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

/** The first record of what was packed. Holds nothing that depends on when or how it was packed. */
export function headOf({ root, parts, mode, survey, records }: Packed): ManifestHead {
  const { summary, pluginHashes, interpreter, cuda, models } = survey;
  return {
    format: 2,
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

/** A manifest as it is written: what it says itself, after what its base says. */
export class BuiltManifest {
  /** Its own; the base has others. */
  readonly packs: readonly PackRecord[];
  readonly frames: readonly FrameRecord[];
  readonly #headText: string;
  readonly #entries: PackedEntries;
  readonly #base: BaseEntries | null;
  readonly #changes: readonly Change[];
  /** By frame, counted on from those of the base. */
  readonly #numbers = new Map<Frame, number>();

  /** `changes`: how the entries differ from the base; every entry where there is none. */
  constructor(
    headText: string,
    entries: PackedEntries,
    base: BaseEntries | null,
    changes: readonly Change[],
    sizeOf: (pack: string) => number,
  ) {
    this.#headText = headText;
    this.#entries = entries;
    this.#base = base;
    this.#changes = changes;
    const used = new Set<Frame>();
    for (const change of changes) {
      if (typeof change === "number") for (const { frame } of entries.parts(change)) used.add(frame);
    }
    const own: Frame[] = [];
    for (const frame of used) {
      const number = base?.frameAt(frame.pack, frame.offset);
      if (number === undefined) own.push(frame);
      else this.#numbers.set(frame, number);
    }
    const packNumbers = new Map(base?.packs.map(({ sha256 }, number) => [sha256, number]));
    const packs = [...new Set(own.map(({ pack }) => pack))].filter((pack) => !packNumbers.has(pack)).sort();
    this.packs = packs.map((sha256) => ({ type: "pack", sha256, size: sizeOf(sha256) }));
    for (const sha256 of packs) packNumbers.set(sha256, packNumbers.size);
    const packOf = ({ pack }: Frame) => packNumbers.get(pack) ?? -1;
    own.sort((a, b) => packOf(a) - packOf(b) || a.offset - b.offset);
    for (const [position, frame] of own.entries()) this.#numbers.set(frame, (base?.frameCount ?? 0) + position);
    this.frames = own.map((frame) => {
      const { offset, length, size, sha256 } = frame;
      return { type: "frame", pack: packOf(frame), offset, length, size, sha256 };
    });
  }

  /** Its text, made while it is written: all of it is far more than what it is made of. */
  *lines(): Generator<string> {
    yield this.#headText;
    if (this.#base !== null) yield baseText(this.#base.digest);
    for (const pack of this.packs) yield packText(pack);
    for (const frame of this.frames) yield frameText(frame);
    for (const change of this.#changes) {
      if (typeof change === "string") yield removedText(change);
      else {
        const text = openEntryText(this.#entries.at(change));
        yield this.#entries.isFile(change) ? `${text},"parts":[${this.#partsText(change)}]}` : `${text}}`;
      }
    }
  }

  /** The content that it names itself. */
  *contents(): Generator<CataloguedContent> {
    for (const change of this.#changes) {
      if (typeof change !== "number" || !this.#entries.isFile(change)) continue;
      const { digests, digestAt } = this.#entries.at(change);
      yield { sha256: digests.subarray(digestAt, digestAt + digestSize), parts: this.#entries.parts(change) };
    }
  }

  /** As the base of later manifests; only where it has none itself. */
  asBase(head: Omit<BaseHead, "packs">): PackedBase {
    return new PackedBase({ ...head, packs: this.packs }, this.frames, this.#entries);
  }

  #partsText(number: number): string {
    let text = "";
    for (const { frame, offset, length } of this.#entries.parts(number)) {
      const found = this.#numbers.get(frame);
      if (found === undefined) throw new Error(`${this.#entries.path(number)} is in a frame that is not listed`);
      text += `${text === "" ? "" : ","}[${found},${offset},${length}]`;
    }
    return text;
  }
}
