import type { Fleet } from "./fleet";
import type { Instance } from "./instance";
import { askQueueLength } from "./queue-look";

/** Milliseconds between two looks; a draining instance is waited for. */
const interval = { ready: 1_000, draining: 250, unready: 1_000 };

/** Keeps the length of every instance's queue known. */
export class QueuePoll {
  private readonly polled = new Set<Instance>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private closed = false;

  /** @param onAnswer called after each answer, with the instance up to date. */
  constructor(
    private readonly fleet: Fleet,
    private readonly onAnswer: (instance: Instance) => void,
  ) {
    fleet.onChange(() => this.pollNew());
  }

  close(): void {
    this.closed = true;
    for (const timer of this.timers) clearTimeout(timer);
  }

  private pollNew(): void {
    for (const instance of this.fleet.all()) {
      if (this.polled.has(instance)) continue;
      this.polled.add(instance);
      void this.poll(instance);
    }
  }

  private async poll(instance: Instance): Promise<void> {
    const answer = instance.beginPoll();
    answer(await askQueueLength(instance));
    if (instance.queueRemaining !== null) this.onAnswer(instance);
    if (!instance.present || this.closed) {
      this.polled.delete(instance);
      return;
    }
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      void this.poll(instance);
    }, interval[instance.state]);
    this.timers.add(timer);
  }
}
