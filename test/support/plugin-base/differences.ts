import { at, isValues, propertyPath, type Values } from "./values";

export type Change = "add" | "delete" | "update";

export interface Difference {
  readonly change: Change;
  readonly replaces: boolean;
}

export type Path = readonly (string | number)[];

export interface Comparison {
  /** Paths whose change replaces the resource: `spec.selector`, `spec.containers[*].image`. */
  readonly replacing: readonly string[];
  /** Whether two values that are not both objects or lists say the same. @default when they are identical */
  readonly isSame?: (path: Path, before: unknown, after: unknown) => boolean;
}

/** What differs between two objects, by property path. */
export function differences(
  old: Values,
  wanted: Values,
  { replacing, isSame = (_, before, after) => before === after }: Comparison,
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

/** The same without what is at, or below, paths that `ignoreChanges` names. */
export function withoutIgnored(
  found: ReadonlyMap<string, Difference>,
  ignored: readonly string[],
): ReadonlyMap<string, Difference> {
  const paths = ignored.map(propertyPath);
  return new Map(
    [...found].filter(([changed]) => {
      const steps = propertyPath(changed);
      return !paths.some((path) => path.every((step, i) => String(steps[i]) === String(step)));
    }),
  );
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
