import { pause } from "../bell";
import { formatDuration } from "../format";

/** Milliseconds between two looks at the queue. */
const interval = 250;

export interface DrainContext {
  /** Milliseconds that the instance gets. */
  readonly deadline: number;
  /** Milliseconds without a word of any gateway after which an empty queue alone counts. */
  readonly unheard: number;
  /** Prompts that it has left: null while it does not answer. */
  readonly queueRemaining: () => Promise<number | null>;
  /** Whether there may be anything to lose: this start of ComfyUI was proven, and runs. */
  readonly holdsWork: () => boolean;
  readonly report: (detail: string) => void;
}

/** What a drain ended with. */
export type Drained = "drained" | "deadline";

/**
 * Waits until an instance is drained: until its queue is empty and a gateway has said that nothing of it is needed any more, results
 * included.
 */
export class Drain {
  /** Fulfilled once it is over; asked any number of times. */
  readonly done: Promise<Drained>;
  readonly #began = performance.now();
  /** When a gateway was heard of last, or the queue became empty. */
  #since = this.#began;

  constructor(
    private readonly context: DrainContext,
    private readonly released: () => boolean,
    signal: AbortSignal,
  ) {
    this.done = this.#run(signal);
  }

  /** A gateway still takes something from the instance. */
  heard(): void {
    this.#since = performance.now();
  }

  async #run(signal: AbortSignal): Promise<Drained> {
    const { deadline, unheard, holdsWork, report } = this.context;
    while (!signal.aborted) {
      if (!holdsWork()) return "drained";
      const queue = await this.context.queueRemaining();
      const now = performance.now();
      if (queue !== 0) this.#since = now;
      else if (this.released() || now - this.#since >= unheard) return "drained";
      const left = deadline - (now - this.#began);
      if (left <= 0) return "deadline";
      const what =
        queue === null
          ? "it does not answer"
          : queue === 0
            ? "its queue is empty; no gateway has said yet that its results are not needed any more"
            : `${queue} ${queue === 1 ? "prompt" : "prompts"} left`;
      report(`${what}; it has ${formatDuration(Math.ceil(left / 1000) * 1000)}`);
      await pause(Math.min(interval, left), signal);
    }
    return "drained";
  }
}
