import type { Release } from "../supervisor";

/**
 * The release whose snapshot a rollback would pin: the newest that has served, runs another snapshot than the one that
 * serves now, and came before it. When nothing serves, the newest that has ever served. Null where there is none.
 */
export function rollbackCandidate(releases: readonly Release[], serving: string | null): Release | null {
  const current = releases.find(({ id }) => id === serving);
  const earlier = releases.filter(
    (release) =>
      release.events.some(({ event }) => event === "serving") &&
      (current === undefined ||
        (release.revision < current.revision && release.spec.snapshot !== current.spec.snapshot)),
  );
  return earlier.reduce<Release | null>(
    (newest, release) => (newest === null || release.revision > newest.revision ? release : newest),
    null,
  );
}
