import { median } from "./measure";

/** A row of the goals: what is compared, and the ratio that is not to be exceeded. */
export interface Goal<Id extends string = string> {
  readonly id: Id;
  readonly what: string;
  readonly unit: "s" | "B" | "count" | "B/s";
  /** The ratio `ours / theirs`, or where there is nobody to compare with, the value itself. */
  readonly limit: number;
  readonly sense: "at most" | "at least";
}

export function goal<Id extends string>(
  id: Id,
  what: string,
  limit: number,
  unit: Goal["unit"] = "s",
  sense: Goal["sense"] = "at most",
): Goal<Id> {
  return { id, what, limit, unit, sense };
}

/** Every goal of the snapshot engine, in the order in which they are shown. */
export const goals = [
  goal("scan.restic", "unchanged scan / restic's unchanged backup", 0.25),
  goal("scan.borg", "unchanged scan / borg's unchanged backup", 0.25),
  goal("scan.find", "unchanged scan / find -printf", 3),
  goal("scan.read", "content bytes read by an unchanged scan", 0, "B"),
  goal("scan.written", "objects and bytes written to the store when nothing changed", 0, "B"),
  goal("pack.tar", "first pack to a folder / tar | zstd -1 -T2", 1.25),
  goal("pack.restic", "first pack to a folder / restic's first backup", 0.4),
  goal("pack.bytes", "bytes stored by it / restic's repository", 1, "B"),
  goal("changed.restic", "pack after 1 % of the files changed / restic", 0.35),
  goal("changed.bytes", "bytes it stores / the changed files' compressed bytes", 1.5, "B"),
  goal("changed.puts", "objects it stores / (those bytes / 8 MiB + 10)", 1, "count"),
  goal("upgraded.restic", "pack after one distribution was upgraded / restic", 0.35),
  goal("restore.tar", "cold restore on tmpfs / zstd -d | tar x", 1.25),
  goal("restore.restic", "cold restore on tmpfs / restic", 0.6),
  goal("cached.cp", "restore from the local cache / cp -al", 1.5),
  goal("over.full", "restore over the previous version, 1 % changed / a full restore", 0.15),
  goal("memory.peak", "peak memory of any of these", 400e6, "B"),
  goal("memory.twice", "peak memory at twice the files / at half of them", 1.2, "B"),
  goal("twice.scan", "unchanged scan of twice the files / of half of them", 2.2),
  goal("twice.pack", "first pack of twice the files / of half of them", 2.2),
  goal("twice.restore", "cold restore of twice the files / of half of them", 2.2),
  goal("s3.rate", "through 85 MB/s a connection / N × 85 MB/s or the processors' limit", 0.9, "B/s", "at least"),
] as const;

export type MetricId = (typeof goals)[number]["id"];

/** What was measured for a goal. `theirs` is null where the goal is a value, not a ratio. */
export interface Metric {
  readonly goal: Goal;
  readonly ours: readonly number[];
  readonly theirs: readonly number[] | null;
  /** Medians compared; null where it could not be measured. */
  readonly ratio: number | null;
  readonly met: boolean;
  /** Why it was not measured, or what else belongs to the number. */
  readonly note: string;
  /** Further raw numbers that the result comes from, by what they are. */
  readonly details: Readonly<Record<string, readonly number[]>>;
}

/** Collects what the experiments measure for these goals. What nobody measured is unmet. */
export class Results<Id extends string = MetricId> {
  readonly #metrics = new Map<Id, Metric>();

  constructor(readonly goals: readonly Goal<Id>[]) {}

  ratio(id: Id, ours: readonly number[], theirs: readonly number[], note = "", details: Metric["details"] = {}) {
    const ratio = median(ours) / median(theirs);
    this.#set(id, { ours, theirs, ratio, note, details });
  }

  /** Judged by the worst. */
  value(id: Id, ours: readonly number[], note = "", details: Metric["details"] = {}): void {
    this.#set(id, { ours, theirs: null, ratio: Math.max(...ours), note, details });
  }

  /** Adds to what was measured. */
  annotate(id: Id, note: string, details: Metric["details"]): void {
    const known = this.#metrics.get(id);
    if (known === undefined) throw new Error(`${id} is not measured yet`);
    const notes = [known.note, note].filter(Boolean).join("; ");
    this.#metrics.set(id, { ...known, note: notes, details: { ...known.details, ...details } });
  }

  missing(id: Id, reason: string): void {
    this.#metrics.set(id, unmeasured(this.#goalOf(id), reason));
  }

  has(id: Id): boolean {
    return this.#metrics.has(id);
  }

  /** In the order of the goals; only those that were asked for. */
  all(wanted: (id: Id) => boolean): readonly Metric[] {
    return this.goals
      .filter(({ id }) => wanted(id))
      .map((goal) => this.#metrics.get(goal.id) ?? unmeasured(goal, "not measured"));
  }

  #set(id: Id, measured: Pick<Metric, "ours" | "theirs" | "note" | "details"> & { readonly ratio: number }): void {
    const goal = this.#goalOf(id);
    const met = goal.sense === "at most" ? measured.ratio <= goal.limit : measured.ratio >= goal.limit;
    this.#metrics.set(id, { goal, met, ...measured });
  }

  #goalOf(id: Id): Goal<Id> {
    const found = this.goals.find((each) => each.id === id);
    if (found === undefined) throw new Error(`there is no goal ${id}`);
    return found;
  }
}

function unmeasured(goal: Goal, reason: string): Metric {
  return { goal, ours: [], theirs: null, ratio: null, met: false, note: reason, details: {} };
}
