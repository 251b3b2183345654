import { expect, test } from "vitest";
import { experiments } from "../../bench/experiments";
import { goals, Results } from "../../bench/metrics";
import { documentOf, tableOf } from "../../bench/report";

const machine = { processor: "p", processors: 2 } as unknown as Parameters<typeof documentOf>[0];
const everything = () => true;
const metricIn = (results: Results, id: string) => results.all(everything).find(({ goal }) => goal.id === id);

test("every goal has a name of its own and is measured by one experiment", () => {
  const ids = goals.map(({ id }) => id);

  expect(new Set(ids).size).toBe(ids.length);
  expect(experiments.flatMap(({ metrics }) => metrics).sort()).toEqual([...ids].sort());
});

test("a ratio of medians is met up to its limit and not above it", () => {
  const results = new Results(goals);
  results.ratio("pack.tar", [100, 1, 1.25], [1, 0.2, 50]);
  results.ratio("restore.tar", [1.2501], [1]);

  expect(metricIn(results, "pack.tar")).toMatchObject({ ratio: 1.25, met: true, ours: [100, 1, 1.25] });
  expect(metricIn(results, "restore.tar")).toMatchObject({ met: false });
});

test("where more is better, a ratio is met from its limit on", () => {
  const results = new Results(goals);
  results.ratio("s3.rate", [90], [100]);
  expect(metricIn(results, "s3.rate")).toMatchObject({ ratio: 0.9, met: true });

  results.ratio("s3.rate", [89], [100]);
  expect(metricIn(results, "s3.rate")).toMatchObject({ met: false });
});

test("a value is judged by its worst run", () => {
  const results = new Results(goals);
  results.value("memory.peak", [100e6, 401e6, 200e6]);
  results.value("scan.read", [0, 0, 0]);

  expect(metricIn(results, "memory.peak")).toMatchObject({ ratio: 401e6, theirs: null, met: false });
  expect(metricIn(results, "scan.read")).toMatchObject({ met: true });
});

test("what nobody measured, and what could not be, is unmet and says so", () => {
  const results = new Results(goals);
  results.missing("pack.restic", "restic is missing");

  expect(metricIn(results, "pack.restic")).toMatchObject({ met: false, ratio: null, note: "restic is missing" });
  expect(metricIn(results, "scan.borg")).toMatchObject({ met: false, ratio: null, note: "not measured" });
  expect(results.all(everything)).toHaveLength(goals.length);
  expect(results.all(everything).some(({ met }) => met)).toBe(false);
});

test("only what was asked for is reported, in the order of the goals", () => {
  const results = new Results(goals);
  results.ratio("restore.tar", [1], [1]);
  results.ratio("pack.tar", [1], [1]);

  const asked = results.all((id) => id === "restore.tar" || id === "pack.tar");

  expect(asked.map(({ goal }) => goal.id)).toEqual(["pack.tar", "restore.tar"]);
});

test("the document has each metric's raw numbers with their unit, its ratio, its goal, and whether that is met", () => {
  const results = new Results(goals);
  results.ratio("pack.tar", [1.5, 1.25, 1.75], [1, 2, 3], "a note");
  results.ratio("pack.bytes", [2_000], [1_000]);
  results.ratio("s3.rate", [80e6], [85e6], "", { bytes: [2e9], "seconds up 1": [25] });

  const text = JSON.stringify(
    documentOf(machine, { tree: { full: { files: 2, bytes: 3 } } }, 3, results.all(everything)),
  );
  const { metrics, runs, tree } = JSON.parse(text) as {
    metrics: ({ id: string } & Record<string, unknown>)[];
    runs: number;
    tree: unknown;
  };

  expect({ runs, tree }).toEqual({ runs: 3, tree: { full: { files: 2, bytes: 3 } } });
  expect(metrics.map(({ id }) => id)).toEqual(goals.map(({ id }) => id));
  const found = (wanted: string) => metrics.find(({ id }) => id === wanted);
  expect(found("pack.tar")).toEqual({
    id: "pack.tar",
    what: "first pack to a folder / tar | zstd -1 -T2",
    unit: "s",
    goal: { sense: "at most", limit: 1.25 },
    ours: [1.5, 1.25, 1.75],
    theirs: [1, 2, 3],
    ratio: 0.75,
    met: true,
    note: "a note",
    details: {},
  });
  expect(found("pack.bytes")).toMatchObject({ unit: "B", ours: [2_000], theirs: [1_000], ratio: 2, met: false });
  expect(found("s3.rate")).toMatchObject({ unit: "B/s", details: { bytes: [2e9], "seconds up 1": [25] } });
  expect(found("scan.find")).toMatchObject({ ours: [], theirs: null, ratio: null, met: false });
});

test("the table shows medians, the goal, and what is unmet", () => {
  const results = new Results(goals);
  results.ratio("pack.tar", [1, 3, 2], [4, 4, 4]);
  results.value("memory.peak", [123e6]);

  const rows = tableOf(results.all((id) => ["pack.tar", "pack.restic", "memory.peak"].includes(id))).split("\n");

  const row = (id: string) => rows.find((line) => line.includes(id)) ?? "";
  expect(row("pack.tar")).toMatch(/2\.00 s.*4\.00 s.*0\.500.*≤ 1\.25.*yes/);
  expect(row("pack.restic")).toMatch(/-.*-.*-.*≤ 0\.4.*no.*not measured/);
  expect(row("memory.peak")).toMatch(/123\.0 MB.*-.*-.*≤ 400\.0 MB.*yes/);
});
