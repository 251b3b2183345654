import { randomBytes } from "node:crypto";

/** Starts a frame that zstd skips. */
const skippableMagic = 0x184d2a50;
/** Bytes of such a frame. */
export const nonceSize = 24;

/** A frame without content, which gives a pack, or a manifest, of the same content another name. */
export function nonce(): Buffer {
  const frame = Buffer.alloc(nonceSize);
  frame.writeUInt32LE(skippableMagic, 0);
  frame.writeUInt32LE(nonceSize - 8, 4);
  randomBytes(nonceSize - 8).copy(frame, 8);
  return frame;
}
