/** Numbers that look random and are the same for the same seed (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 on, below `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % Math.max(end, 1);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }
}

/** Bytes as a failing disk or a careless hand would leave them, and what was done to them. */
export function damageBytes(bytes: Buffer, dice: Dice): { readonly bytes: Buffer; readonly what: string } {
  const at = dice.below(bytes.length);
  const copy = Buffer.from(bytes);
  switch (dice.below(6)) {
    case 0:
      copy[at] = (copy[at] ?? 0) ^ (1 << dice.below(8));
      return { bytes: copy, what: `a bit flipped in byte ${at}` };
    case 1:
      return { bytes: copy.subarray(0, at), what: `cut to ${at} bytes` };
    case 2: {
      const end = Math.min(at + 1 + dice.below(64), copy.length);
      copy.fill(0, at, end);
      return { bytes: copy, what: `zeros from byte ${at} to ${end}` };
    }
    case 3: {
      const from = dice.below(copy.length);
      const length = dice.below(200);
      return {
        bytes: Buffer.concat([copy.subarray(0, at), copy.subarray(from, from + length), copy.subarray(at)]),
        what: `${length} bytes of ${from} spliced in at ${at}`,
      };
    }
    case 4:
      return { bytes: Buffer.concat([copy, copy.subarray(at)]), what: `its end from byte ${at} appended` };
    default:
      return {
        bytes: Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + dice.below(40))]),
        what: `bytes missing at ${at}`,
      };
  }
}

const numbers = [
  -1,
  0,
  0.5,
  1,
  2,
  255,
  65_536,
  2 ** 31,
  2 ** 32,
  2 ** 40,
  2 ** 53 - 1,
  2 ** 53,
  2 ** 64,
  1e308,
  "7",
  null,
  true,
  [],
  {},
];
const texts = [
  "",
  ".",
  "..",
  "../outside/evil",
  "/tmp/evil",
  "a/../../outside/evil",
  "ComfyUI",
  "ComfyUI/",
  "ComfyUI/models",
  "venv/bin/python",
  "a\0b",
  "\ud800",
  "x".repeat(300),
  "d/".repeat(300),
  "4755",
  "777",
  "0",
  "-1.000000000",
  "99999999999999.000000000",
  "0".repeat(64),
  "é",
  7,
  null,
  {},
];

type Records = unknown[];

/** A manifest's records with something of them changed, as whoever can write to a store could make them. */
export function damageRecords(
  records: readonly unknown[],
  dice: Dice,
): { readonly records: Records; readonly what: string } {
  const copy = structuredClone(records) as Records;
  const at = dice.below(copy.length);
  switch (dice.below(8)) {
    case 0:
      copy.splice(at, 1);
      return { records: copy, what: `record ${at} left out` };
    case 1:
      copy.splice(dice.below(copy.length), 0, structuredClone(copy[at]));
      return { records: copy, what: `record ${at} there twice` };
    case 2: {
      const other = dice.below(copy.length);
      [copy[at], copy[other]] = [copy[other], copy[at]];
      return { records: copy, what: `records ${at} and ${other} exchanged` };
    }
    case 3:
      return { records: copy.slice(0, at), what: `nothing from record ${at} on` };
    default:
      return { records: copy, what: `record ${at}: ${changeValue(copy[at], dice)}` };
  }
}

/** Changes one value somewhere in a record, another's if there is a fitting one. */
function changeValue(record: unknown, dice: Dice): string {
  const places: { readonly holder: Record<string, unknown>; readonly key: string; readonly path: string }[] = [];
  const visit = (value: unknown, path: string) => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      places.push({ holder: value as Record<string, unknown>, key, path: `${path}.${key}` });
      visit(inner, `${path}.${key}`);
    }
  };
  visit(record, "");
  if (places.length === 0) return "as it was";
  const { holder, key, path } = dice.pick(places);
  const before = holder[key];
  if (dice.below(8) === 0) {
    delete holder[key];
    return `without ${path}`;
  }
  if (typeof before === "number" && dice.below(3) === 0) holder[key] = before + dice.pick([-1, 1, 2, 1000]);
  else if (Array.isArray(before) && before.length > 0 && dice.below(2) === 0) holder[key] = [...before, ...before];
  else holder[key] = structuredClone(dice.pick<unknown>(typeof before === "number" ? numbers : texts));
  return `${path} is ${JSON.stringify(holder[key])?.slice(0, 80)} instead of ${JSON.stringify(before)?.slice(0, 80)}`;
}
