import { Instance } from "./instance";
import type { Targets } from "./targets";

export interface FleetChange {
  readonly added: readonly Instance[];
  /** Processes that the targets no longer name, or name with another epoch. */
  readonly departed: readonly Instance[];
}

/** The instances that the targets name now, and which release gets new prompts. */
export class Fleet {
  private byId = new Map<string, Instance>();
  private readonly served = new Set<string>();
  private readonly listeners = new Set<(change: FleetChange) => void>();
  generation = 0;
  serving: string | null = null;

  apply(targets: Targets): FleetChange {
    const previous = this.byId;
    const added: Instance[] = [];
    this.byId = new Map();
    for (const target of targets.instances) {
      const known = previous.get(target.id);
      if (known?.is(target)) {
        known.state = target.state;
        this.byId.set(target.id, known);
      } else {
        const instance = new Instance(target);
        added.push(instance);
        this.byId.set(target.id, instance);
      }
      if (target.state === "draining") this.served.add(target.release);
    }
    const departed = [...previous.values()].filter((instance) => this.byId.get(instance.id) !== instance);
    for (const instance of departed) {
      instance.present = false;
      instance.queueRemaining = null;
    }
    this.generation = targets.generation;
    this.serving = targets.serving;
    if (targets.serving !== null) this.served.add(targets.serving);
    const change = { added, departed };
    for (const listener of this.listeners) listener(change);
    return change;
  }

  /**
   * Prompts that wait or run on instances of the serving release which are to stay, by what was last heard and accepted since; null
   * while none serves. Of another release nothing is told: what it has is not to be waited for by more instances.
   */
  get queue(): { readonly release: string; readonly prompts: number } | null {
    const { serving } = this;
    if (serving === null) return null;
    const staying = this.all().filter(({ release, state }) => release === serving && state !== "draining");
    return { release: serving, prompts: staying.reduce((sum, { load }) => sum + load, 0) };
  }

  /** Calls the listener after each change, until the returned function is called. */
  onChange(listener: (change: FleetChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  get(id: string): Instance | undefined {
    return this.byId.get(id);
  }

  all(): readonly Instance[] {
    return [...this.byId.values()];
  }

  /** Notes that a release has prompts of clients, so that what it holds stays visible to them. */
  noteServed(release: string): void {
    this.served.add(release);
  }

  /** The instances whose queues and results a client sees: those of one release, or all but candidates. */
  visible(release: string | null): readonly Instance[] {
    return this.all().filter((instance) =>
      release === null ? this.served.has(instance.release) : instance.release === release,
    );
  }

  hasReady(release: string | null): boolean {
    return this.all().some((instance) => instance.release === release && instance.state === "ready");
  }

  /** Resolves at the next change, after at most the given milliseconds, or when the signal is aborted. */
  nextChange(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        stop();
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, Math.max(0, milliseconds));
      const stop = this.onChange(end);
      signal?.addEventListener("abort", end);
      if (signal?.aborted) end();
    });
  }
}
