import { type Difference, differences as differencesOf, type Path } from "../plugin-base/differences";
import { isValues, type Values } from "../plugin-base/values";

/** What differs between a live object, reduced to what its inputs spoke of, and new inputs: by property path. */
export function differences(
  old: Values,
  wanted: Values,
  replacing: readonly string[],
): ReadonlyMap<string, Difference> {
  return differencesOf(old, wanted, { replacing, isSame });
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
