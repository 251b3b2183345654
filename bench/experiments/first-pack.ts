import { existsSync } from "node:fs";
import { join } from "node:path";
import { restic, storeOf, tar } from "../commands";
import { listing, seconds, type Workshop } from "../workshop";

/** A pack to a store that does not exist yet, by a user who never scanned: everything is read, compressed and written. */
export async function firstPack(shop: Workshop): Promise<void> {
  const withRestic = shop.has("restic");
  const archive = () => join(shop.state("tar"), "tree.tar.zst");
  await shop.run(tar.read(shop.tree));
  await shop.run(tar.read(shop.half));
  const runs = await shop.interleave([
    {
      name: "pack",
      prepare: () => fresh(shop, "ours"),
      command: () => shop.ours.pack(shop.tree, shop.state("ours")),
    },
    {
      name: "tar | zstd",
      prepare: () => fresh(shop, "tar"),
      command: () => tar.create(shop.tree, archive()),
    },
    ...(withRestic
      ? [
          {
            name: "restic backup",
            prepare: async () => {
              await fresh(shop, "restic");
              await shop.run(restic.init(shop.state("restic")));
            },
            command: () => restic.backup(shop.tree, shop.state("restic")),
          },
        ]
      : []),
    {
      name: "pack half",
      prepare: () => fresh(shop, "half"),
      command: () => shop.ours.pack(shop.half, shop.state("half")),
    },
  ]);
  const ours = runs("pack");
  shop.notePeaks("pack", "full", ours);
  shop.notePeaks("pack", "half", runs("pack half"));
  shop.results.ratio("pack.tar", seconds(ours), seconds(runs("tar | zstd")));
  shop.results.ratio("twice.pack", seconds(ours), seconds(runs("pack half")));
  if (!withRestic) return;
  shop.results.ratio("pack.restic", seconds(ours), seconds(runs("restic backup")));
  const repository = join(shop.state("restic"), "repository");
  if (!existsSync(repository)) return;
  const [stored, resticStored] = [listing(storeOf(shop.state("ours"))), listing(repository)];
  shop.results.ratio("pack.bytes", [stored.bytes], [resticStored.bytes], `${stored.objects} objects`);
}

async function fresh(shop: Workshop, state: string): Promise<void> {
  shop.emptyState(state);
  await shop.settle();
}
