import fc from "fast-check";
import { expect, test } from "vitest";
import { closeFrame, FrameBoundary } from "../../../runtime/gateway/kubernetes/frame-boundary";

/** A frame as RFC 6455, 5.2 has it. */
function frame(opcode: number, payload: Buffer, masked: boolean): Buffer {
  const bit = masked ? 128 : 0;
  const head =
    payload.length < 126
      ? Buffer.from([128 | opcode, bit | payload.length])
      : payload.length < 65_536
        ? Buffer.from([128 | opcode, bit | 126, payload.length >> 8, payload.length & 255])
        : Buffer.concat([Buffer.from([128 | opcode, bit | 127]), lengthOf(payload)]);
  return Buffer.concat([head, masked ? Buffer.alloc(4, 9) : Buffer.alloc(0), payload]);
}

function lengthOf(payload: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64BE(BigInt(payload.length));
  return length;
}

const frames = fc.array(
  fc.record({
    opcode: fc.constantFrom(0, 1, 2, 9, 10),
    size: fc.oneof(fc.nat(300), fc.constantFrom(125, 126, 127, 65_535, 65_536, 70_000)),
    masked: fc.boolean(),
  }),
  { minLength: 1, maxLength: 6 },
);

test("however frames are cut on their way, it is known where one ends", () => {
  fc.assert(
    fc.property(
      frames,
      fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 20 }),
      (list, cuts) => {
        const encoded = list.map(({ opcode, size, masked }) => frame(opcode, Buffer.alloc(size, 0x88), masked));
        const ends = new Set<number>([0]);
        let end = 0;
        for (const each of encoded) {
          end += each.length;
          ends.add(end);
        }
        const all = Buffer.concat(encoded);
        const boundary = new FrameBoundary();
        let at = 0;
        for (let cut = 0; at < all.length; cut += 1) {
          const next = Math.min(all.length, at + (cuts[cut % cuts.length] ?? 1));
          boundary.see(all.subarray(at, next));
          at = next;
          expect(boundary.between).toBe(ends.has(at));
        }
        expect(boundary.closing).toBe(false);
      },
    ),
    { numRuns: 200 },
  );
});

test("a closing frame is noticed, also one of its own", () => {
  const boundary = new FrameBoundary();
  boundary.see(frame(1, Buffer.from("hello"), false));
  expect([boundary.between, boundary.closing]).toEqual([true, false]);
  boundary.see(closeFrame("the gateway restarts"));
  expect([boundary.between, boundary.closing]).toEqual([true, true]);
});
