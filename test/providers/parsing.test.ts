import { describe, expect, test } from "vitest";
import { z } from "zod";
import { parse, parseInputs } from "../../providers/parsing";
import { isUnknown, knownLater } from "../../providers/unknown";
import { durationSchema } from "../../runtime/units";

const engineMarker = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

describe("an unknown value", () => {
  test("is found at any depth, in either form", () => {
    expect(isUnknown(engineMarker)).toBe(true);
    expect(isUnknown({ a: [{ b: knownLater }] })).toBe(true);
    expect(isUnknown({ a: ["known", 1, null, undefined] })).toBe(false);
  });

  test("hides no problem of another property, and is handed on as it is", () => {
    const schema = z.object({ wait: durationSchema, snapshot: z.string(), count: z.int() });
    const { inputs, problems } = parseInputs(schema, { wait: "soon", snapshot: engineMarker, count: 1.5 });
    expect(inputs).toEqual({ snapshot: engineMarker });
    expect(problems.map(({ path }) => path)).toEqual(["wait", "count"]);
  });

  test("inside a value is no problem of it, while its neighbours' problems are", () => {
    const schema = z.object({ variables: z.record(z.string(), z.string().max(3)), list: z.array(z.int()) });
    const { problems } = parse(schema, { variables: { a: knownLater, b: "long text" }, list: [1, "two"] });
    expect(problems.map(({ path }) => path)).toEqual(["variables.b", "list[1]"]);
  });
});

describe("a problem", () => {
  test("names the path, what is wrong and what was found", () => {
    const schema = z.strictObject({ scaling: z.strictObject({ count: z.int("is no whole number") }) });
    expect(parse(schema, { scaling: { count: 1.5 } }).problems).toEqual([
      { path: "scaling.count", reason: "is no whole number, found 1.5" },
    ]);
  });

  test("of a property that nobody knows names that property", () => {
    const [problem] = parse(z.strictObject({ a: z.string() }), { a: "x", bb: 1 }).problems;
    expect(problem?.reason).toContain("bb");
  });

  test("of a missing property says so", () => {
    const [problem] = parse(z.strictObject({ a: z.string() }), {}).problems;
    expect(problem).toMatchObject({ path: "a" });
    expect(problem?.reason).toMatch(/undefined|required/i);
  });
});

test("a parsed input is what the schema makes of it, and absent ones stay absent", () => {
  const schema = z.object({ wait: durationSchema, port: z.int().optional(), names: z.array(z.string()).default([]) });
  expect(parseInputs(schema, { wait: "2m", port: null }).inputs).toEqual({ wait: 120_000, names: [] });
});
