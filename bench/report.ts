import Table from "cli-table3";
import type { Machine } from "./machine";
import { median } from "./measure";
import type { Metric } from "./metrics";

/** The table for the terminal. */
export function tableOf(metrics: readonly Metric[]): string {
  const table = new Table({
    head: ["metric", "what", "ours", "theirs", "ratio", "goal", "met", "note"],
    style: { head: [], border: [] },
    colWidths: [null, 40, null, null, null, null, null, 40],
    wordWrap: true,
  });
  for (const { goal, ours, theirs, ratio, met, note } of metrics) {
    const isRatio = theirs !== null;
    table.push([
      goal.id,
      goal.what,
      ours.length === 0 ? "-" : amount(isRatio ? median(ours) : Math.max(...ours), goal.unit),
      theirs === null || theirs.length === 0 ? "-" : amount(median(theirs), goal.unit),
      ratio !== null && isRatio ? ratio.toFixed(3) : "-",
      `${goal.sense === "at most" ? "≤" : "≥"} ${ratio === null || isRatio || goal.limit < 10 ? goal.limit : amount(goal.limit, goal.unit)}`,
      met ? "yes" : "no",
      note,
    ]);
  }
  return table.toString();
}

/** What `--json` writes: the raw numbers of every run. `about` says what was measured on. */
export function documentOf(machine: Machine, about: object, rounds: number, metrics: readonly Metric[]) {
  return {
    machine,
    ...about,
    runs: rounds,
    metrics: metrics.map(({ goal, ours, theirs, ratio, met, note, details }) => ({
      id: goal.id,
      what: goal.what,
      unit: goal.unit,
      goal: { sense: goal.sense, limit: goal.limit },
      ours,
      theirs,
      ratio,
      met,
      note,
      details,
    })),
  };
}

function amount(value: number, unit: Metric["goal"]["unit"]): string {
  if (unit === "s") return `${value.toFixed(2)} s`;
  if (unit === "count") return value.toFixed(1);
  return `${(value / 1e6).toFixed(1)} MB${unit === "B/s" ? "/s" : ""}`;
}
