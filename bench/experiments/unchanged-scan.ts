import { borg, find, restic, storeOf } from "../commands";
import { listing, seconds, type Workshop } from "../workshop";

/** A scan of a tree in which nothing changed since the last one, against backups in the same position. */
export async function unchangedScan(shop: Workshop): Promise<void> {
  const state = await shop.ourState();
  const half = await shop.halfState();
  // What was changed just before an index was written is read again: let that be over.
  await shop.run(shop.ours.scan(shop.tree, state));
  await shop.run(shop.ours.scan(shop.half, half));
  const resticState = shop.has("restic") ? await shop.resticState() : null;
  const borgState = shop.has("borg") ? await shop.borgState() : null;
  const read: number[] = [];
  const runs = await shop.interleave([
    {
      name: "scan",
      command: () => shop.ours.scan(shop.tree, state),
      after: (_round, { stdout }) => {
        read.push((JSON.parse(stdout) as { bytesRead: number }).bytesRead);
      },
    },
    { name: "find", command: () => find(shop.tree) },
    ...(resticState === null ? [] : [{ name: "restic backup", command: () => restic.backup(shop.tree, resticState) }]),
    ...(borgState === null
      ? []
      : [{ name: "borg create", command: (round: number) => borg.create(shop.tree, borgState, `unchanged-${round}`) }]),
    { name: "scan half", command: () => shop.ours.scan(shop.half, half) },
  ]);
  const ours = runs("scan");
  shop.notePeaks("scan", "full", ours);
  shop.notePeaks("scan", "half", runs("scan half"));
  shop.results.ratio("scan.find", seconds(ours), seconds(runs("find")));
  shop.results.ratio("twice.scan", seconds(ours), seconds(runs("scan half")));
  if (resticState !== null) shop.results.ratio("scan.restic", seconds(ours), seconds(runs("restic backup")));
  if (borgState !== null) shop.results.ratio("scan.borg", seconds(ours), seconds(runs("borg create")));
  shop.results.value("scan.read", read);

  const before = listing(storeOf(state));
  const packed = await shop.run(shop.ours.pack(shop.tree, state));
  const after = listing(storeOf(state));
  shop.results.value(
    "scan.written",
    [after.bytes - before.bytes + (after.objects - before.objects)],
    `by a pack, which took ${packed.seconds.toFixed(2)} s`,
  );
}
