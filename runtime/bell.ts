/** Wakes whoever waits for a change. Take {@link next} before looking at what may change, and no change is missed. */
export class Bell {
  private controller = new AbortController();

  /** Aborted when the bell rings the next time. */
  get next(): AbortSignal {
    return this.controller.signal;
  }

  ring(): void {
    const rung = this.controller;
    this.controller = new AbortController();
    rung.abort();
  }
}

/** Waits so many milliseconds, or until the signal is aborted; which of the two is told by the signal. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(milliseconds, 2 ** 31 - 1));
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Waits until the signal is aborted. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
