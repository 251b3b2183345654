import { randomBytes } from "node:crypto";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { FrameCompressor } from "../../runtime/snapshot/frame-compressor";
import { FrameDecompressor } from "../../runtime/snapshot/frame-decompressor";

const mebibyte = 1024 * 1024;
const contents = [
  Buffer.from("a"),
  Buffer.alloc(mebibyte, "the same over and over"),
  randomBytes(mebibyte),
  Buffer.alloc(0),
  randomBytes(1000),
];

test("one compressor makes of each content a frame of its own, the same whatever came before", async () => {
  const [one, other] = [new FrameCompressor(2), new FrameCompressor(2)];
  const frames: Buffer[] = [];
  for (const content of contents) frames.push(Buffer.from(await one.compress(content)));

  for (const [position, content] of [...contents.entries()].reverse()) {
    expect(frames[position] && zstdDecompressSync(frames[position]).equals(content)).toBe(true);
    expect(frames[position]?.equals(await other.compress(content))).toBe(true);
  }
  one.close();
  other.close();
});

test("one decompressor gives the content of one frame after the other", async () => {
  const decompressor = new FrameDecompressor();

  for (const content of [...contents, ...contents]) {
    expect((await decompressor.decompress(zstdCompressSync(content))).equals(content)).toBe(true);
  }
  decompressor.close();
});

test("a frame that holds far more than a frame may is refused before it fills the memory", async () => {
  const decompressor = new FrameDecompressor();
  const bomb = zstdCompressSync(Buffer.alloc(256 * mebibyte));

  await expect(decompressor.decompress(bomb)).rejects.toThrow("more than a frame may");
});

test("a damaged frame is refused", async () => {
  const decompressor = new FrameDecompressor();
  const frame = zstdCompressSync(Buffer.alloc(mebibyte, "text"));
  frame[20] = (frame[20] ?? 0) ^ 0xff;
  frame[0] = 0;

  await expect(decompressor.decompress(frame)).rejects.toThrow();
});
