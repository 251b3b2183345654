import { describe, expect, test } from "vitest";
import { z } from "zod";
import { adapt, canonical, type Difference, schemaVersion } from "../../providers/resource";

const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const schema = z.object({ displayUrn: z.string(), release: z.string(), count: z.int(), note: z.string().optional() });
type Inputs = z.output<typeof schema>;

function resourceWith(live: () => Promise<Difference>) {
  return adapt<Inputs, object>({
    schema,
    replaceOn: ["release"],
    ignore: ["note"],
    live,
    create: async () => ({ id: "one", outputs: {} }),
    update: async () => ({}),
    delete: async () => undefined,
    read: async () => ({}),
  });
}

const state = { displayUrn: "urn:a", release: "r1", count: 2, note: "old", schema: schemaVersion };
const asDeclared = async () => ({ changes: false, replaces: [] });
const { diff } = resourceWith(asDeclared);

describe("a diff", () => {
  test("finds nothing when only what is ignored differs, the row of the display included", async () => {
    const news = { displayUrn: "urn:b", release: "r1", count: 2, note: "new" };
    expect(await diff("one", state, news)).toEqual({ changes: false, replaces: [], deleteBeforeReplace: false });
  });

  test("updates in place for an input that does not replace", async () => {
    expect(await diff("one", state, { ...state, count: 3 })).toMatchObject({ changes: true, replaces: [] });
  });

  test("replaces, create before delete, for one that does, and names it", async () => {
    const result = await diff("one", state, { ...state, release: "r2" });
    expect(result).toEqual({ changes: true, replaces: ["release"], deleteBeforeReplace: false });
  });

  test("takes an input that is not known yet for a change", async () => {
    expect(await diff("one", state, { ...state, release: unknown })).toMatchObject({ replaces: ["release"] });
  });

  test("looks at what is really there only when the inputs are the same", async () => {
    const lost = resourceWith(async () => ({ changes: true, replaces: ["release"] }));
    expect(await lost.diff("one", state, state)).toMatchObject({ changes: true, replaces: ["release"] });
    const notAsked = resourceWith(() => Promise.reject(new Error("must not be asked")));
    expect(await notAsked.diff("one", state, { ...state, count: 3 })).toMatchObject({ changes: true });
  });

  test("finds a change in a state of another schema version", async () => {
    expect(await diff("one", { ...state, schema: schemaVersion - 1 }, state)).toMatchObject({
      changes: true,
      replaces: [],
    });
    const { schema: _, ...without } = state;
    expect(await diff("one", without, state)).toMatchObject({ changes: true });
  });

  test("does not take the order of keys, or an absent value, for a change", () => {
    expect(canonical({ a: 1, b: { d: null, c: [1, { y: 1, x: 2 }] } })).toBe(
      canonical({ b: { c: [1, { x: 2, y: 1 }], d: null }, a: 1 }),
    );
    expect(canonical(undefined)).toBe(canonical(null));
  });
});
