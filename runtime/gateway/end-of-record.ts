import { memberText } from "./json-text";

/** When the prompt of a history record ended: its last message's time in milliseconds since 1970, or 0 when it has none. */
export function endOf(record: string): number {
  const status = memberText(record, "status") ?? "";
  return Math.max(0, ...[...status.matchAll(/"timestamp":\s*(\d+)/g)].map(([, digits]) => Number(digits)));
}
