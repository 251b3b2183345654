import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { borg, type Ours, restic, storeOf, tar } from "./commands";
import type { Competitor, Competitors } from "./competitors";
import { type Command, type Contestant, interleave, type Measured, measure } from "./measure";
import type { Results } from "./metrics";
import { copyTree, type Trees } from "./tree";

export type Say = (line: string) => void;
/** The full tree, or half of it. */
export type Extent = "full" | "half";

/** Where experiments work, and what they share: trees, and stores that hold the full tree. */
export class Workshop {
  /** A copy of the full tree, which the later experiments change. */
  readonly tree: string;
  readonly half: string;
  readonly wheels: string;
  /** Largest peak of memory of each of our commands, of each run. */
  readonly peaks = new Map<string, number[]>();
  readonly #scratch: string;

  constructor(
    readonly folder: string,
    trees: Trees,
    readonly ours: Ours,
    readonly results: Results,
    readonly competitors: Competitors,
    readonly rounds: number,
    readonly say: Say,
  ) {
    this.tree = join(folder, "tree");
    this.half = trees.half;
    this.wheels = trees.wheels;
    this.#scratch = join(folder, "scratch");
    mkdirSync(this.#scratch, { recursive: true });
    say("copying the tree to work on");
    copyTree(trees.full, this.tree);
  }

  /** Makes an environment of what the tree has besides its content: ComfyUI, plugins, and a virtual environment without distributions. */
  copyFrame(to: string): void {
    mkdirSync(join(to, "venv", "lib"), { recursive: true });
    mkdirSync(join(to, ".cache"));
    for (const path of ["ComfyUI", "venv/bin", "venv/pyvenv.cfg"]) copyTree(join(this.tree, path), join(to, path));
  }

  has(...programs: readonly Competitor[]): boolean {
    return programs.every((program) => this.competitors.has(program));
  }

  /** A folder of a state's own; see {@link emptyState}. */
  state(name: string): string {
    return join(this.folder, "state", name);
  }

  emptyState(name: string): string {
    const state = this.state(name);
    rmSync(state, { recursive: true, force: true });
    mkdirSync(state, { recursive: true });
    return state;
  }

  /** Puts a state aside, to start from it again and again: its place matters to those who keep it. */
  keepState(name: string): void {
    const kept = `${this.state(name)}.kept`;
    rmSync(kept, { recursive: true, force: true });
    renameSync(this.state(name), kept);
  }

  async resetState(name: string): Promise<void> {
    rmSync(this.state(name), { recursive: true, force: true });
    // Links are enough: none of the tools writes into a file that is complete.
    await this.run({ argv: ["cp", "-al", `${this.state(name)}.kept`, this.state(name)] });
    await this.settle();
  }

  /** Runs a command that is not measured. */
  run(command: Command): Promise<Measured> {
    return measure(command, this.#scratch);
  }

  /** Writes out what earlier commands left to be written, so that it does not weigh on the next one. */
  async settle(): Promise<void> {
    await this.run({ argv: ["sync", "--file-system", this.folder] });
  }

  async interleave(contestants: readonly Contestant[]): Promise<(name: string) => readonly Measured[]> {
    const runs = await interleave(contestants, this.rounds, this.#scratch, this.say);
    return (name) => runs.get(name) ?? [];
  }

  notePeaks(kind: string, extent: Extent, runs: readonly Measured[]): void {
    const key = `${kind} ${extent}`;
    const known = this.peaks.get(key) ?? [];
    this.peaks.set(key, [...known, ...runs.flatMap(({ peakBytes }) => (peakBytes === null ? [] : [peakBytes]))]);
  }

  /** Our store with a snapshot of the full tree as it is now, and what a user's cache then holds. */
  async ourState(): Promise<string> {
    const state = this.state("ours");
    if (!existsSync(storeOf(state))) await this.run(this.ours.pack(this.tree, this.emptyState("ours")));
    return state;
  }

  async halfState(): Promise<string> {
    const state = this.state("half");
    if (!existsSync(storeOf(state))) await this.run(this.ours.pack(this.half, this.emptyState("half")));
    return state;
  }

  async resticState(): Promise<string> {
    const state = this.state("restic");
    if (existsSync(join(state, "repository"))) return state;
    await this.run(restic.init(this.emptyState("restic")));
    await this.run(restic.backup(this.tree, state));
    return state;
  }

  async borgState(): Promise<string> {
    const state = this.state("borg");
    if (existsSync(join(state, "repository"))) return state;
    await this.run(borg.init(this.emptyState("borg")));
    await this.run(borg.create(this.tree, state, "first"));
    return state;
  }

  async tarFile(): Promise<string> {
    const file = join(this.state("tar"), "tree.tar.zst");
    if (existsSync(file)) return file;
    this.emptyState("tar");
    await this.run(tar.create(this.tree, file));
    return file;
  }
}

export const seconds = (runs: readonly Measured[]) => runs.map((run) => run.seconds);

export interface Listing {
  readonly objects: number;
  readonly bytes: number;
}

/** What a folder holds, counted by listing it. */
export function listing(folder: string): Listing {
  let objects = 0;
  let bytes = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const found = lstatSync(join(folder, name));
    if (!found.isFile()) continue;
    objects += 1;
    bytes += found.size;
  }
  return { objects, bytes };
}

/** A folder in memory with room for so many bytes; null where there is none, with the reason. */
export function memoryFolder(name: string, bytes: number): { readonly folder: string } | { readonly reason: string } {
  const place = "/dev/shm";
  if (!/^tmpfs \/dev\/shm tmpfs/m.test(readFileSync("/proc/mounts", "utf8"))) {
    return { reason: `${place} is no tmpfs` };
  }
  const { bavail, bsize } = statfsSync(place);
  const available = Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1] ?? 0) * 1024;
  const room = Math.min(bavail * bsize, available - 1e9);
  if (room < bytes) {
    return {
      reason: `${place} has room for ${Math.round(room / 1e6)} MB, and ${Math.round(bytes / 1e6)} MB are needed`,
    };
  }
  const folder = join(place, name);
  mkdirSync(folder, { recursive: true });
  return { folder };
}
