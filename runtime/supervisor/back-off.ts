/** Milliseconds before the first restart; each further one waits twice as long, up to the longest. */
const first = 500;
export const longestBackOff = 30_000;

/** Milliseconds to wait before the restart after so many failures in a row (1, 2, …). */
export function backOff(failures: number): number {
  return Math.min(longestBackOff, first * 2 ** Math.min(failures - 1, 16));
}
