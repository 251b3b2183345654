import { expect, test } from "vitest";
import { formatReference, parseReference } from "../../runtime/snapshot";

const digest = "0123456789abcdef".repeat(4);

test.each(["/srv/store", "/srv/with space/#sha256:odd", "/", "s3://bucket", "s3://bucket/some/prefix"])(
  "a reference to %s is read as it was written",
  (store) => {
    expect(parseReference(formatReference({ store, digest }))).toEqual({ store, digest });
  },
);

test.each([
  ["/srv/store", 'it has no "#sha256:"'],
  ["", 'it has no "#sha256:"'],
  [`store#sha256:${digest}`, "is neither the absolute path of a folder nor s3://bucket/prefix"],
  [`gs://bucket/prefix#sha256:${digest}`, "is neither the absolute path of a folder nor s3://bucket/prefix"],
  [`/srv/store#sha256:${digest.toUpperCase()}`, "is not 64 lower-case hex digits"],
  ["/srv/store#sha256:0123", "is not 64 lower-case hex digits"],
])("%j is refused with what would be right", (text, reason) => {
  expect(() => parseReference(text)).toThrow(reason);
  expect(() => parseReference(text)).toThrow("right is for example /srv/comfyui/store#sha256:");
});

test("a place that no bucket has is refused, and a slash at its end means nothing", () => {
  expect(() => parseReference(`s3://Bucket/prefix#sha256:${digest}`)).toThrow('"Bucket" is not the name of a bucket');
  expect(parseReference(`s3://bucket/prefix/#sha256:${digest}`)).toEqual({ store: "s3://bucket/prefix", digest });
});
