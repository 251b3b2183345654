import { hasServed, type ReleaseNodes, withEvent, withRelease } from "../deployment";
import { scale } from "./deployments";
import { objectNames } from "./names";
import type { ServiceRecords } from "./service-record";

/** Most characters of a failure's reason that are recorded. */
const mostDetail = 2_000;

/**
 * Records that a release has failed, and takes its instances and the nodes of its own away: what they hold is needed to try again. Those of
 * a release that has served stay.
 *
 * @param giveBack the nodes
 * @returns what that means for users, and what could not be taken away; never throws, since whoever calls has an error to tell already
 */
export async function failRelease(
  records: ServiceRecords,
  release: string,
  detail: string,
  giveBack: (nodes: ReleaseNodes | undefined) => Promise<void>,
): Promise<string> {
  try {
    const serving = (await records.target()).release;
    let served = false;
    let nodes: ReleaseNodes | undefined;
    await records.change((record) => {
      const known = record.releases.find(({ id }) => id === release);
      if (known === undefined) return record;
      served = hasServed(known);
      nodes = known.nodes;
      const failed = withEvent(known, "failed", new Date().toISOString(), detail.slice(0, mostDetail));
      return withRelease(record, served ? failed : { ...failed, count: 0 });
    });
    if (!served) {
      await scale(records.cluster, objectNames(records.service).release(release), 0);
      await giveBack(nodes);
    }
    return trafficAfterFailure(serving, release, "what of it is proven");
  } catch (error) {
    return `its instances, or nodes of its own, could not be taken away and stay: ${(error as Error).message}`;
  }
}

/** What the failure of a release means for users. `staying`: what goes on serving where it is the one that serves. */
export function trafficAfterFailure(serving: string | null, release: string, staying: string): string {
  if (serving === null) return "the service has no release that serves";
  return serving === release ? `${staying} goes on serving` : `traffic stays on ${serving}`;
}
