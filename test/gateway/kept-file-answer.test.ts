import fc from "fast-check";
import { expect, test } from "vitest";
import { rangeOf } from "../../runtime/gateway/kept-file-answer";

test("a range is within the file, and is what slicing gives", () => {
  fc.assert(
    fc.property(fc.nat(50), fc.option(fc.nat(60)), fc.option(fc.nat(60)), (size, first, last) => {
      const content = Array.from({ length: size }, (_, index) => index);
      const range = rangeOf(`bytes=${first ?? ""}-${last ?? ""}`, size);
      if (range === null) {
        expect(first === null ? last === null : last !== null && last < first).toBe(true);
        return;
      }
      const wanted =
        first === null ? content.slice(Math.max(0, size - (last ?? 0))) : content.slice(first, (last ?? size) + 1);
      if (range === "unsatisfiable") expect(wanted).toEqual([]);
      else expect(content.slice(range.start, range.end + 1)).toEqual(wanted);
    }),
  );
});

test.each([undefined, "", "bytes=-", "items=1-2", "bytes=1-2,4-5", "bytes=a-b"])(
  "%j asks for the whole file",
  (header) => {
    expect(rangeOf(header, 10)).toBeNull();
  },
);
