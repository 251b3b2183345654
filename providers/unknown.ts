/** What the engine hands to a dynamic provider in place of a value that it does not know yet (`UnknownStringValue`); and the reverse. */
export const engineMarker = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** What a component writes into its declaration in place of an output, whose value only the resources get. */
export const knownLater = "\u0000known-later";

/** The same of a value that is compared with others of its kind: equal where they are. */
export function hiddenAs(number: number): string {
  return `${knownLater}:${number}`;
}

/** Whether a value is not known yet: at preview, or as the output of a resource that is being updated. */
export function isUnknown(value: unknown): boolean {
  if (value === engineMarker || value === knownLater) return true;
  if (typeof value === "string") return value.startsWith(`${knownLater}:`);
  // An output of a resource under way reaches `check` as an opaque object with the marker inside.
  if (Array.isArray(value)) return value.some(isUnknown);
  return typeof value === "object" && value !== null && Object.values(value).some(isUnknown);
}
