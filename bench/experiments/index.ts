import { storeOf } from "../commands";
import type { MetricId } from "../metrics";
import type { Workshop } from "../workshop";
import { distributionUpgraded, onePercentChanged } from "./changed";
import { firstPack } from "./first-pack";
import { memory } from "./memory";
import { cachedRestore, coldRestore, referenceIn, restoreOver } from "./restore";
import { s3Rate } from "./s3";
import { unchangedScan } from "./unchanged-scan";

export interface Experiment {
  readonly name: string;
  readonly metrics: readonly MetricId[];
  readonly run: (shop: Workshop) => Promise<void>;
}

/** In the order in which they have to run: the last ones change the tree. */
export const experiments: readonly Experiment[] = [
  {
    name: "first pack",
    metrics: ["pack.tar", "pack.restic", "pack.bytes", "twice.pack"],
    run: firstPack,
  },
  {
    name: "unchanged scan",
    metrics: ["scan.restic", "scan.borg", "scan.find", "scan.read", "scan.written", "twice.scan"],
    run: unchangedScan,
  },
  {
    name: "cold restore",
    metrics: ["restore.tar", "restore.restic", "twice.restore"],
    run: coldRestore,
  },
  { name: "restore from the local cache", metrics: ["cached.cp"], run: cachedRestore },
  {
    name: "1 % changed: pack, and restore over the version before",
    metrics: ["changed.restic", "changed.bytes", "changed.puts", "over.full"],
    run: async (shop) => {
      const state = await shop.ourState();
      const earlier = await referenceIn(shop, state, shop.tree, storeOf(state));
      await onePercentChanged(shop);
      await restoreOver(shop, earlier);
    },
  },
  { name: "one distribution upgraded", metrics: ["upgraded.restic"], run: distributionUpgraded },
  { name: "through a limited S3 server", metrics: ["s3.rate"], run: s3Rate },
  { name: "memory", metrics: ["memory.peak", "memory.twice"], run: memory },
];

/** The experiments that memory is taken from. */
export const measuredForMemory: readonly MetricId[] = [
  "pack.tar",
  "scan.find",
  "restore.tar",
  "cached.cp",
  "over.full",
];
