import { at, isValues, type Values } from "./values";

export type Change = "add" | "delete" | "update";

export interface Difference {
  readonly change: Change;
  readonly replaces: boolean;
}

type Path = readonly (string | number)[];

/** What differs between a live object, reduced to what its inputs spoke of, and new inputs: by property path. */
export function differences(
  old: Values,
  wanted: Values,
  replacing: readonly string[],
): ReadonlyMap<string, Difference> {
  const found = new Map<string, Difference>();
  const patterns = replacing.map((pattern) => pattern.replaceAll("[*]", ".*").split("."));
  compare([], old, wanted);
  return found;

  function compare(path: Path, before: unknown, after: unknown): void {
    if (isValues(before) && isValues(after)) {
      for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
        compare([...path, key], before[key], after[key]);
      }
    } else if (Array.isArray(before) && Array.isArray(after)) {
      for (let i = 0; i < Math.max(before.length, after.length); i += 1) compare([...path, i], before[i], after[i]);
    } else if (!isSame(path, before, after)) {
      const change = before === undefined ? "add" : after === undefined ? "delete" : "update";
      found.set(written(path), {
        change,
        replaces: patterns.some((pattern) => concerns(pattern, path, after ?? before)),
      });
    }
  }
}

function isSame(path: Path, before: unknown, after: unknown): boolean {
  if (before === after) return true;
  // What is empty or zero is not kept by the API server where that is the default.
  if (before === undefined) return isZero(after);
  if (typeof before === "number" && typeof after === "number") return false;
  return path.some(isOfQuantities) && quantity(before) !== undefined && quantity(before) === quantity(after);
}

function isZero(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isValues(value)) return Object.values(value).every(isZero) && Object.keys(value).length === 0;
  return value === 0 || value === "" || value === false;
}

const isOfQuantities = (step: string | number) =>
  /^(limits|requests|capacity|overhead|hard|sizeLimit|divisor|averageValue|value)$/.test(String(step));

const suffixes: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The number that a quantity stands for: the API server writes `1000m` as `1`. */
function quantity(value: unknown): number | undefined {
  const match = /^([+-]?[\d.]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)$/.exec(String(value));
  const factor = suffixes[match?.[2] ?? ""];
  return match?.[1] === undefined || factor === undefined ? undefined : Number(match[1]) * factor;
}

/** Whether a change at a path, of this value, changes what the pattern names: above it, there, or below. */
function concerns(pattern: readonly string[], path: Path, value: unknown): boolean {
  const matches = (part: string, step: string | number) => part === "*" || part === String(step);
  const shared = Math.min(pattern.length, path.length);
  for (let i = 0; i < shared; i += 1) {
    const [part, step] = [pattern[i], path[i]];
    if (part === undefined || step === undefined || !matches(part, step)) return false;
  }
  return pattern.length <= path.length || isBelow(value, pattern.slice(path.length));
}

function isBelow(value: unknown, [part, ...rest]: readonly string[]): boolean {
  if (part === undefined) return value !== undefined;
  if (part === "*") return Array.isArray(value) && value.some((inner) => isBelow(inner, rest));
  return isBelow(at(value, part), rest);
}

/** A property path as the engine reads it. */
function written(path: Path): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/[."[\]]/.test(step)) text += `["${step.replaceAll('"', '\\"')}"]`;
    else text += text === "" ? step : `.${step}`;
  }
  return text;
}
