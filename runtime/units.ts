import { z } from "zod";

export { formatDuration, formatSize } from "./format";

/** A length of time, for example `"500ms"`, `"90s"`, `"10m"`, `"1h"`. */
export type Duration = `${number}${"ms" | "s" | "m" | "h"}`;

/** A number of bytes, for example `"512 MiB"` or `"20 GiB"`; the units are powers of 1024. */
export type Size = `${number} ${"KiB" | "MiB" | "GiB" | "TiB"}`;

const millisecondsPer = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
const bytesPer = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;

/** Parses a {@link Duration} to whole milliseconds; refuses anything else with what would be right. */
export const durationSchema = z.string('is not a duration such as "90s" or "10m"').transform((text, context) => {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
  if (amount === undefined || unit === undefined) {
    context.addIssue(`${JSON.stringify(text)} is not a duration such as "90s" or "10m" (units: ms, s, m, h)`);
    return z.NEVER;
  }
  return Math.round(Number(amount) * millisecondsPer[unit as keyof typeof millisecondsPer]);
});

/** Parses a {@link Size} to whole bytes; refuses anything else with what would be right. */
export const sizeSchema = z.string('is not a size such as "512 MiB"').transform((text, context) => {
  const [, amount, unit] = /^(\d+(?:\.\d+)?) (KiB|MiB|GiB|TiB)$/.exec(text) ?? [];
  if (amount === undefined || unit === undefined) {
    context.addIssue(`${JSON.stringify(text)} is not a size such as "512 MiB" (units: KiB, MiB, GiB, TiB)`);
    return z.NEVER;
  }
  return Math.round(Number(amount) * bytesPer[unit as keyof typeof bytesPer]);
});
