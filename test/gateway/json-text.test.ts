import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { elements, members, memberText, rewriteFileReferences, withMember } from "../../runtime/gateway/json-text";

const spaces = fc.constantFrom(undefined, 1, "\t");

describe("members", () => {
  test("cuts any object into the values that JSON.parse finds", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), spaces, (object, space) => {
        const text = JSON.stringify(object, null, space);
        const found = members(text).map(({ key, start, end }) => [key, JSON.parse(text.slice(start, end))]);
        expect(found).toEqual(Object.entries(JSON.parse(text)));
      }),
    );
  });

  test.each(["", "[]", "{", '{"a"', '{"a":1', '{"a":1 "b":2}', '{"a":"', '{"a":[1}'])("refuses %j", (text) => {
    expect(() => members(text)).toThrow(SyntaxError);
  });

  test("takes what Python writes for numbers that are none", () => {
    expect(memberText('{"is_changed": [NaN, -Infinity], "b": 1.0}', "is_changed")).toBe("[NaN, -Infinity]");
  });

  test("takes the last of two members with one name, as ComfyUI does", () => {
    expect(memberText('{"a": 1, "a": 2}', "a")).toBe("2");
  });
});

test("elements cuts any array into the values that JSON.parse finds", () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), spaces, (array, space) => {
      const text = JSON.stringify(array, null, space);
      expect(elements(text).map(({ start, end }) => JSON.parse(text.slice(start, end)))).toEqual(JSON.parse(text));
    }),
  );
});

describe("withMember", () => {
  test("sets a member whether or not it is there, and leaves the others as they were", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), spaces, fc.string(), (object, space, value) => {
        const text = JSON.stringify(object, null, space);
        expect(JSON.parse(withMember(text, "prompt_id", value))).toEqual({ ...JSON.parse(text), prompt_id: value });
      }),
    );
  });

  test("keeps the digits of a seed that no double can hold", () => {
    expect(withMember('{"seed": 18446744073709551615}', "a", 1)).toContain("18446744073709551615");
  });
});

describe("rewriteFileReferences", () => {
  test("changes nothing but the subfolders it is told to", () => {
    fc.assert(
      fc.property(fc.jsonValue(), spaces, (value, space) => {
        const text = JSON.stringify({ value, file: { filename: "a", type: "output", subfolder: "" } }, null, space);
        const changed = rewriteFileReferences(text, ({ filename }) => (filename === "a" ? "b" : null));
        expect(JSON.parse(changed).value).toEqual(JSON.parse(text).value);
        expect(JSON.parse(changed).file.subfolder).toBe("b");
        expect(rewriteFileReferences(text, () => null)).toBe(text);
      }),
    );
  });

  test("finds files at any depth, whatever the order of their members and what else they have", () => {
    const text =
      '{"gifs": [{"type": "output", "n": {"filename": "inner", "subfolder": "s", "type": "temp"}, "subfolder": "q\\"x", "filename": "f"}], "subfolder": "none"}';
    const found: string[] = [];
    rewriteFileReferences(text, ({ filename, subfolder, type }) => {
      found.push(`${type}:${subfolder}:${filename}`);
      return null;
    });
    expect(found).toEqual(["temp:s:inner", 'output:q"x:f']);
  });

  test("does not take strings of other objects or other types for a file", () => {
    const text =
      '{"filename": "a", "x": {"subfolder": ""}, "type": "output", "y": ["subfolder", "type"], "subfolder": null}';
    expect(rewriteFileReferences(text, () => "changed")).toBe(text);
  });
});
