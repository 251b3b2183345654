import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Ours } from "../../bench/commands";
import { unchangedScan } from "../../bench/experiments/unchanged-scan";
import { goals, Results } from "../../bench/metrics";
import { Workshop } from "../../bench/workshop";
import { packageRoot } from "../../runtime/package-root";
import { compiledCommand } from "../support/cli-compiled";
import { makeEnvironment, temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

test("an experiment without its competitors measures what it can, and leaves the rest unmet", async () => {
  const command = compiledCommand();
  expect(dirname(command)).toBe(join(packageRoot(), "dist", "runtime", "cli"));
  const [full, half, work] = ["full", "half", "work"].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  for (const tree of [full, half]) makeEnvironment(tree);
  mkdirSync(work);
  const results = new Results(goals);
  const ours = new Ours(packageRoot(), folder.path);
  const shop = new Workshop(work, { full, half, wheels: "" }, ours, results, new Map(), 2, () => undefined);

  await unchangedScan(shop);

  const metrics = new Map(results.all((id) => id.startsWith("scan.")).map((metric) => [metric.goal.id, metric]));
  for (const id of ["scan.restic", "scan.borg"] as const) {
    expect(metrics.get(id)).toMatchObject({ met: false, ratio: null, ours: [] });
  }
  expect(metrics.get("scan.find")?.ours).toHaveLength(2);
  expect(metrics.get("scan.find")?.theirs).toHaveLength(2);
  expect(metrics.get("scan.read")).toMatchObject({ ours: [0, 0], met: true });
  expect(metrics.get("scan.written")).toMatchObject({ ours: [0], met: true });
});
