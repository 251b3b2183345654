import { describeFailure } from "../failure";
import { nameOf, type Orphan } from "./orphans";
import { confirm, isOwner, type Outcome, type Recovery } from "./request";
import type { FoundOrphan, Site, Unseen } from "./site";
import { findSites } from "./sites";
import type { StackState } from "./state";

/** An orphan with the place where it was found. */
export type PlacedOrphan = Orphan & Site["place"];

/** Lists what belongs to the stack and no resource of its state knows, and removes, when confirmed, what serves nobody. */
export async function removeOrphans(
  recovery: Recovery,
  state: StackState,
): Promise<{ readonly orphans: readonly Outcome<PlacedOrphan>[]; readonly unseen: readonly Unseen[] }> {
  const { request, output, surroundings } = recovery;
  const { found, unseen } = await listOrphans(recovery, state);
  for (const { orphan, site } of found) {
    const serving = orphan.serves && orphan.kind !== "traffic" ? "; it serves users" : "";
    output.remark(`no resource knows ${nameOf(orphan)} in ${site.name} (${orphan.detail}${serving})`);
  }
  for (const { name, reason } of unseen) output.remark(`${name} could not be looked at: ${reason}`);
  const removable = found.filter(({ orphan }) => request.includeServing || !orphan.serves);
  const staying = found.filter((each) => !removable.includes(each)).map(({ orphan }) => orphan.kind);
  if (staying.some((kind) => kind !== "traffic")) {
    output.remark("what serves users stays: run pulumi up first, which moves the traffic, or use --include-serving");
  }
  if (staying.includes("traffic")) {
    output.remark("traffic stays, and pulumi up takes it over; before pulumi destroy, end it with --include-serving");
  }
  const question = `Remove ${removable.map(({ orphan }) => nameOf(orphan)).join(", ")}?`;
  const confirmed = removable.length > 0 && !request.dryRun && (await confirm(recovery, question));
  const orphans: Outcome<PlacedOrphan>[] = [];
  for (const each of found) {
    const { orphan, site, remove } = each;
    const placed = { ...site.place, ...orphan };
    if (!confirmed || !removable.includes(each)) {
      orphans.push({ found: placed, done: false });
      continue;
    }
    try {
      output.progress(`removing ${nameOf(orphan)}`);
      await remove({ progress: output.progress, signal: surroundings.signal });
      orphans.push({ found: placed, done: true });
    } catch (error) {
      surroundings.signal.throwIfAborted();
      const { message } = describeFailure(error);
      output.remark(`${nameOf(orphan)} could not be removed: ${message}`);
      orphans.push({ found: placed, done: false, error: message });
    }
  }
  return { orphans, unseen };
}

async function listOrphans(recovery: Recovery, state: StackState) {
  const { request, output, surroundings, project } = recovery;
  const { sites, unseen } = await findSites(
    {
      state,
      programFolder: project.programFolder,
      cwd: surroundings.cwd,
      directory: request.directory,
      cluster: request.cluster,
      isOwn: (owner) => isOwner(owner, recovery),
    },
    output,
  );
  const found: (FoundOrphan & { readonly site: Site })[] = [];
  const away: Unseen[] = [...unseen];
  for (const site of sites) {
    output.progress(`looking for what is left in ${site.name}`);
    try {
      found.push(...(await site.find()).map((orphan) => ({ ...orphan, site })));
    } catch (error) {
      surroundings.signal.throwIfAborted();
      // A folder of this machine has no excuse; another cluster may be away while the rest is done.
      if ("directory" in site.place) throw error;
      away.push({ name: site.name, reason: describeFailure(error).message });
    }
  }
  return { found, unseen: away };
}
