import fc from "fast-check";
import { expect, test } from "vitest";
import { MultipartFields } from "../../runtime/gateway/multipart-fields";

const fieldName = fc.constantFrom("overwrite", "type", "subfolder", "original_ref");

async function encode(fields: readonly (readonly [string, string])[], file: Uint8Array<ArrayBuffer>) {
  const form = new FormData();
  form.set("image", new File([file], "picture.png"));
  for (const [name, value] of fields) form.set(name, value);
  const response = new Response(form);
  return { type: response.headers.get("content-type") ?? "", body: Buffer.from(await response.arrayBuffer()) };
}

test("fields are read however the body is cut into chunks, and whatever the file holds", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fieldName, fc.stringMatching(/^[^\r\n]*$/))),
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
      async (fields, file, sizes) => {
        const { type, body } = await encode(fields, new Uint8Array(file));
        const reader = new MultipartFields(type);
        for (let at = 0, index = 0; at < body.length; index += 1) {
          const size = sizes[index % sizes.length] ?? 1;
          reader.push(body.subarray(at, at + size));
          at += size;
        }
        const expected = await new Response(body, { headers: { "content-type": type } }).formData();
        expected.delete("image");
        expect(Object.fromEntries(reader.fields)).toEqual(Object.fromEntries(expected));
      },
    ),
    { numRuns: 60 },
  );
});

test("a file, a long field and another kind of body give no fields", async () => {
  const { type, body } = await encode([["note", "x".repeat(100_000)]], new Uint8Array([1]));
  const reader = new MultipartFields(type);
  reader.push(body);
  expect(reader.fields.size).toBe(0);
  const other = new MultipartFields("application/json");
  other.push(Buffer.from('{"overwrite": true}'));
  expect(other.fields.size).toBe(0);
});
