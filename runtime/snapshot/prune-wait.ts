/**
 * What packing and pruning agree on. A pack which no manifest needs is marked, and removed only when the mark is so old that every
 * run that may have looked before it has ended. So a run that packs must look at the marks before it writes its manifest, and
 * must not have begun longer ago than that.
 */

/** Milliseconds between the mark on a pack and its removal. */
export const pruneWait = 24 * 3_600_000;
/** Milliseconds that a run which packs may take. Less than the wait, for clocks that tell whole seconds, or run apart a little. */
export const longestPack = 23 * 3_600_000;

/**
 * Bytes of a stored manifest from which on others may say only what differs from it. Smaller ones cannot be needed by a run that packs,
 * and are removed as soon as they have expired.
 */
export const smallestBase = 64 * 1024;

/** `name`: of a pack or a manifest. */
export const markKey = (name: string) => `marks/${name}`;

/** Measures how long a run has taken, by two clocks: one is set at times, the other stands still while a machine sleeps. */
export function stopwatch(): () => number {
  const [wall, steady] = [Date.now(), performance.now()];
  return () => Math.max(Date.now() - wall, performance.now() - steady);
}
