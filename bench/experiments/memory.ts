import { median } from "../measure";
import type { Workshop } from "../workshop";

/** Peak memory of our commands, as the experiments before have noted it. */
export async function memory(shop: Workshop): Promise<void> {
  const peaks = [...shop.peaks].filter(([, values]) => values.length > 0);
  if (peaks.length === 0) {
    const reason = shop.has("/usr/bin/time") ? "no command was measured" : "GNU time is missing";
    for (const id of ["memory.peak", "memory.twice"] as const) shop.results.missing(id, reason);
    return;
  }
  const shown = peaks.map(([key, values]) => `${key} ${Math.round(median(values) / 1e6)}`).join(", ");
  shop.results.value(
    "memory.peak",
    peaks.filter(([key]) => key.endsWith(" full")).flatMap(([, values]) => values),
    `MB: ${shown}`,
  );
  const pairs = peaks.flatMap(([key, values]) => {
    const half = shop.peaks.get(key.replace(/ full$/, " half"));
    if (!key.endsWith(" full") || half === undefined || half.length === 0) return [];
    return [{ kind: key.replace(/ full$/, ""), full: values, half, ratio: median(values) / median(half) }];
  });
  const worst = pairs.sort((a, b) => b.ratio - a.ratio)[0];
  if (worst === undefined) return shop.results.missing("memory.twice", "no command was measured on both trees");
  const ratios = pairs.map(({ kind, ratio }) => `${kind} ${ratio.toFixed(2)}`).join(", ");
  shop.results.ratio("memory.twice", worst.full, worst.half, ratios);
}
