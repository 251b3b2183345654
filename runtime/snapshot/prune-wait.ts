/**
 * What packing and pruning agree on. A pack which no manifest needs is marked, and removed only when the mark is so old that every
 * run that may have looked before it has ended. So a run that packs must look at the marks before it writes its manifest, and
 * must not have begun longer ago than that.
 */

/** Milliseconds between the mark on a pack and its removal. */
export const pruneWait = 24 * 3_600_000;
/** Milliseconds that a run which packs may take. Less than the wait, for clocks that tell whole seconds, or run apart a little. */
export const longestPack = 23 * 3_600_000;

export const markKey = (pack: string) => `marks/${pack}`;

/** Measures how long a run has taken, by two clocks: one is set at times, the other stands still while a machine sleeps. */
export function stopwatch(): () => number {
  const [wall, steady] = [Date.now(), performance.now()];
  return () => Math.max(Date.now() - wall, performance.now() - steady);
}
