import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { filesOfRecord, markMessage, markRecord, markSubfolder, readMark } from "../../runtime/gateway/mark";

const instanceId = fc.string({ minLength: 1, unit: "grapheme" });

describe("a mark", () => {
  test("gives back instance and subfolder, whatever they are", () => {
    fc.assert(
      fc.property(instanceId, fc.string({ unit: "grapheme" }), (instance, subfolder) => {
        expect(readMark(markSubfolder(instance, subfolder))).toEqual({ instance, subfolder });
      }),
    );
  });

  test("can be put on top of another one", () => {
    fc.assert(
      fc.property(instanceId, instanceId, fc.string(), (first, second, subfolder) => {
        const inner = markSubfolder(first, subfolder);
        expect(readMark(markSubfolder(second, inner))).toEqual({ instance: second, subfolder: inner });
      }),
    );
  });

  test("is the first segment of the folder and needs no escaping in a URL's query", () => {
    fc.assert(
      fc.property(instanceId, (instance) => {
        const [segment, ...rest] = markSubfolder(instance, "a/b").split("/");
        expect(segment).toMatch(/^@[A-Za-z0-9._~-]+$/);
        expect(rest).toEqual(["a", "b"]);
      }),
    );
  });

  test("of two instances is never the same", () => {
    fc.assert(
      fc.property(instanceId, instanceId, fc.string(), fc.string(), (a, b, x, y) => {
        fc.pre(a !== b || x !== y);
        expect(markSubfolder(a, x)).not.toBe(markSubfolder(b, y));
      }),
    );
  });

  test.each(["", "portraits", "a@b", "@", "@a~", "@a~G0", "@a b", "@a~2F"])("is not seen in %j", (subfolder) => {
    expect(readMark(subfolder)).toBeNull();
  });
});

test("a message's outputs and previews are marked, its inputs are not", () => {
  const text = JSON.stringify({
    images: [{ filename: "o", subfolder: "", type: "output" }],
    temp: [{ filename: "t", subfolder: "x", type: "temp" }],
    input: { filename: "i", subfolder: "", type: "input" },
  });
  const marked = JSON.parse(markMessage(text, "r1-abcde/0"));
  expect(marked.images[0].subfolder).toBe("@r1-abcde~2f0");
  expect(marked.temp[0].subfolder).toBe("@r1-abcde~2f0/x");
  expect(marked.input.subfolder).toBe("");
});

describe("a history record", () => {
  const record =
    '{"prompt": [0, "id", {"1": {"inputs": {"seed": 18446744073709551615, "v": {"filename": "p", "subfolder": "", "type": "output"}}}}, {}, []], ' +
    '"outputs": {"2": {"images": [{"filename": "a", "subfolder": "", "type": "output"}, {"filename": "a", "subfolder": "", "type": "output"}], "n": NaN}}, ' +
    '"status": {}}';

  test("is marked in its outputs, while the prompt stays as the client sent it, to the digit", () => {
    const marked = markRecord(record, "i");
    expect(marked).toBe(record.replaceAll('"a", "subfolder": ""', '"a", "subfolder": "@i"'));
  });

  test("names the files of its outputs, each once", () => {
    expect(filesOfRecord(record)).toEqual([{ filename: "a", subfolder: "", type: "output" }]);
  });
});
