import { createHash } from "node:crypto";
import { DamagedSnapshotError } from "../types";
import { contentOf, type Frame, type PackRange, type RangeReader, release } from "./frames";

/** A pack that is to be verified. */
export interface CheckPack {
  /** All of it. */
  readonly pack: PackRange;
  /** What its name says that it is. */
  readonly sha256: string;
  readonly frames: readonly Frame[];
}

export interface CheckedPack {
  /** Whether it is what its name says; otherwise no frame was looked at. */
  readonly isWhole: boolean;
  /** For each frame what is wrong with it, or null. */
  readonly frames: readonly (string | null)[];
}

/** Bytes that are hashed at a time: a pack need not be in memory as a whole. */
const pieceSize = 1024 * 1024;

/** Throws {@link DamagedSnapshotError} for a pack that is missing or ends early. */
export function checkPack(reader: RangeReader, { pack, sha256, frames }: CheckPack): CheckedPack {
  const whole = createHash("sha256");
  for (let at = 0; at < pack.length; at += pieceSize) {
    whole.update(reader.read(partOfPack(pack, at, Math.min(pieceSize, pack.length - at))));
  }
  if (whole.digest("hex") !== sha256) return { isWhole: false, frames: [] };
  return { isWhole: true, frames: frames.map((frame) => problemOf(reader, pack, frame)) };
}

function problemOf(reader: RangeReader, pack: PackRange, frame: Frame): string | null {
  try {
    release(contentOf(reader.read(partOfPack(pack, frame.offset, frame.length)), frame, pack.name));
    return null;
  } catch (error) {
    if (!(error instanceof DamagedSnapshotError)) throw error;
    return error.message;
  }
}

function partOfPack({ name, source }: PackRange, offset: number, length: number): PackRange {
  return {
    name,
    offset,
    length,
    source: typeof source === "string" ? source : source.subarray(offset, offset + length),
  };
}
