import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { isValues, type Values } from "./values";

// How the engine marks values in properties: sdk/go/common/resource/{properties,sig}.go and plugin/rpc.go of pulumi/pulumi.
const signature = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";
const unknowns: ReadonlySet<unknown> = new Set([
  "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
  "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
  "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
  "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
  "030794c1-ac77-496b-92df-f27374a8bd58",
  "e48ece36-62e2-4504-bad9-02848725956a",
  "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
]);

/** Properties as they came, secrets marked as the engine marks them; without nulls, which mean "not given". */
export function fromStruct(struct: Struct | undefined): Values {
  const values = struct === undefined ? {} : withoutNulls(struct.toJavaScript());
  return isValues(values) ? values : {};
}

export function toStruct(values: Values): Struct {
  // Through JSON, since the message takes no undefined.
  return Struct.fromJavaScript(JSON.parse(JSON.stringify(withoutNulls(values))));
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isValues(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null && inner !== undefined)
      .map(([key, inner]) => [key, withoutNulls(inner)]),
  );
}

export function isSecret(value: unknown): value is Values {
  return isValues(value) && value[signature] === secretSignature;
}

export function secret(value: unknown): Values {
  return isSecret(value) ? value : { [signature]: secretSignature, value };
}

/** The value, and all in it, in plain text. */
export function plain(value: unknown): unknown {
  if (isSecret(value)) return plain(value.value);
  if (Array.isArray(value)) return value.map(plain);
  if (isValues(value)) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return value;
}

export function plainObject(values: Values): Values {
  const result = plain(values);
  return isValues(result) ? result : {};
}

export function isUnknown(value: unknown): boolean {
  return unknowns.has(value);
}

/** Whether a value, or anything in it, is known only once another resource has been made. */
export function hasUnknown(value: unknown): boolean {
  if (isUnknown(value)) return true;
  if (Array.isArray(value)) return value.some(hasUnknown);
  return isValues(value) && Object.values(value).some(hasUnknown);
}

function hasSecret(value: unknown): boolean {
  if (isSecret(value)) return true;
  if (Array.isArray(value)) return value.some(hasSecret);
  return isValues(value) && Object.values(value).some(hasSecret);
}

/**
 * Marks as secret what was secret where the values came from. Objects are gone through; of anything else that holds a secret, such
 * as a list, all becomes one.
 */
export function markSecrets(values: Values, source: Values): Values {
  const marked: Values = { ...values };
  for (const [key, from] of Object.entries(source)) {
    const value = marked[key];
    if (value === undefined) continue;
    if (isValues(value) && isValues(from) && !isSecret(from)) marked[key] = markSecrets(value, from);
    else if (hasSecret(from)) marked[key] = secret(value);
  }
  return marked;
}
