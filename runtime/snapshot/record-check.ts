import { largestFrame, type StoredRecord } from "./manifest-records";

/**
 * True for a record that is as it should be. A quick way past the schemas for the hundreds of thousands of records that are; they
 * decide, and explain, where this says no.
 */
export function isRecord(value: unknown): value is StoredRecord {
  if (typeof value !== "object" || value === null) return false;
  const record = value as Record<string, unknown>;
  switch (record.type) {
    case "file":
      return (
        isEntry(record) &&
        isMode(record.mode) &&
        typeof record.mtime === "string" &&
        time.test(record.mtime) &&
        isCount(record.size) &&
        isHash(record.sha256) &&
        (record.identity === undefined || isHash(record.identity)) &&
        Array.isArray(record.parts) &&
        record.parts.every(isPart)
      );
    case "directory":
      return isEntry(record) && isMode(record.mode);
    case "link":
      return isEntry(record) && typeof record.target === "string" && record.target !== "";
    case "frame":
      return (
        isCount(record.pack) &&
        isCount(record.offset) &&
        isCount(record.length, 2 * largestFrame) &&
        isCount(record.size, largestFrame) &&
        isHash(record.sha256)
      );
    case "pack":
      return isHash(record.sha256) && isCount(record.size);
    case "removed":
      return typeof record.path === "string";
    case "base":
      return isHash(record.sha256);
    default:
      return false;
  }
}

const hex = /^[0-9a-f]{64}$/;
const octal = /^[0-7]{1,3}$/;
const time = /^-?\d{1,12}\.\d{9}$/;

function isEntry({ path, counts }: Record<string, unknown>): boolean {
  return typeof path === "string" && (counts === undefined || counts === false);
}

function isCount(value: unknown, most: number = Number.MAX_SAFE_INTEGER): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= most;
}

function isHash(value: unknown): boolean {
  return typeof value === "string" && hex.test(value);
}

function isMode(value: unknown): boolean {
  return typeof value === "string" && octal.test(value);
}

function isPart(value: unknown): boolean {
  return Array.isArray(value) && value.length === 3 && isCount(value[0]) && isCount(value[1]) && isCount(value[2]);
}
