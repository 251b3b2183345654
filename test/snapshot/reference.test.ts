import { expect, test } from "vitest";
import { formatReference, parseReference } from "../../runtime/snapshot";

const digest = "0123456789abcdef".repeat(4);

test.each(["/srv/store", "/srv/with space/#sha256:odd", "/"])(
  "a reference to %s is read as it was written",
  (store) => {
    expect(parseReference(formatReference({ store, digest }))).toEqual({ store, digest });
  },
);

test.each([
  ["/srv/store", 'it has no "#sha256:"'],
  ["", 'it has no "#sha256:"'],
  [`store#sha256:${digest}`, "is not the absolute path"],
  [`s3://bucket/prefix#sha256:${digest}`, "is not the absolute path"],
  [`/srv/store#sha256:${digest.toUpperCase()}`, "is not 64 lower-case hex digits"],
  ["/srv/store#sha256:0123", "is not 64 lower-case hex digits"],
])("%j is refused with what would be right", (text, reason) => {
  expect(() => parseReference(text)).toThrow(reason);
  expect(() => parseReference(text)).toThrow("right is for example /srv/comfyui/store#sha256:");
});
