import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { restic, shell, storeOf } from "../commands";
import { changeOnePercent, upgradeDistribution } from "../tree";
import { type Listing, listing, seconds, type Workshop } from "../workshop";

/** Bytes of a pack; the goal allows one object for so many, and ten more. */
const objectSize = 8 * 1024 * 1024;

/** Packs after 1 % of the files changed. Leaves the tree changed, and the states of both tools after it. */
export async function onePercentChanged(shop: Workshop): Promise<void> {
  await shop.ourState();
  if (shop.has("restic")) await shop.resticState();
  const changed = changeOnePercent(shop.tree);
  const list = join(shop.folder, "changed-files");
  writeFileSync(list, `${changed.join("\n")}\n`);
  // As we compress, in one stream: the fewest bytes that the level allows.
  const compressed = await shop.run(shell('tar -C "$1" -T "$2" -cf - | zstd -q -3 | wc -c', [shop.tree, list]));
  const least = Number(compressed.stdout);
  const { ours, theirs, added } = await packAgain(shop);
  if (theirs !== null) shop.results.ratio("changed.restic", ours, theirs);
  shop.results.ratio(
    "changed.bytes",
    added.map(({ bytes }) => bytes),
    [least],
    `${changed.length} files changed`,
  );
  const allowed = least / objectSize + 10;
  shop.results.ratio(
    "changed.puts",
    added.map(({ objects }) => objects),
    [allowed],
  );
}

/** Packs after pip upgraded one distribution. */
export async function distributionUpgraded(shop: Workshop): Promise<void> {
  await shop.ourState();
  if (shop.has("restic")) await shop.resticState();
  upgradeDistribution(shop.tree, shop.wheels);
  const { ours, theirs } = await packAgain(shop);
  if (theirs !== null) shop.results.ratio("upgraded.restic", ours, theirs);
}

/** Packs the changed tree several times, each time onto the states from before the change. */
async function packAgain(shop: Workshop) {
  const withRestic = shop.has("restic");
  shop.keepState("ours");
  if (withRestic) shop.keepState("restic");
  const added: Listing[] = [];
  let before: Listing = { objects: 0, bytes: 0 };
  const runs = await shop.interleave([
    {
      name: "pack",
      prepare: async () => {
        await shop.resetState("ours");
        before = listing(storeOf(shop.state("ours")));
      },
      command: () => shop.ours.pack(shop.tree, shop.state("ours")),
      after: () => {
        const { objects, bytes } = listing(storeOf(shop.state("ours")));
        added.push({ objects: objects - before.objects, bytes: bytes - before.bytes });
      },
    },
    ...(withRestic
      ? [
          {
            name: "restic backup",
            prepare: () => shop.resetState("restic"),
            command: () => restic.backup(shop.tree, shop.state("restic")),
          },
        ]
      : []),
  ]);
  shop.notePeaks("pack changed", "full", runs("pack"));
  return { ours: seconds(runs("pack")), theirs: withRestic ? seconds(runs("restic backup")) : null, added };
}
