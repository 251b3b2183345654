import { randomBytes } from "node:crypto";

/** Starts a frame that zstd skips. */
const skippableMagic = 0x184d2a50;

/** A frame without content, which gives a pack, or a manifest, of the same content another name. */
export function nonce(): Buffer {
  const frame = Buffer.alloc(24);
  frame.writeUInt32LE(skippableMagic, 0);
  frame.writeUInt32LE(16, 4);
  randomBytes(16).copy(frame, 8);
  return frame;
}
