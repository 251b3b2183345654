/** Seconds of the rate that may pass at once, so that timers' coarseness costs nothing. */
export const burst = 0.02;

/** A token bucket: how many bytes may pass by when. */
export class Allowance {
  #bytes: number;
  #at: number;

  /** `now` in milliseconds, of any clock that does not go back. */
  constructor(
    private readonly bytesPerSecond: number,
    now: number,
  ) {
    this.#bytes = burst * bytesPerSecond;
    this.#at = now;
  }

  /** Notes that bytes passed; gives the milliseconds after which more may. */
  take(bytes: number, now: number): number {
    if (this.bytesPerSecond === Number.POSITIVE_INFINITY) return 0;
    const most = Math.max(this.#bytes, burst * this.bytesPerSecond);
    this.#bytes = Math.min(most, this.#bytes + this.#earned(now)) - bytes;
    this.#at = now;
    return this.#bytes >= 0 ? 0 : (-this.#bytes / this.bytesPerSecond) * 1000;
  }

  /** Says that the time that was to be waited is over. What a busy machine let it wait longer is made good in full. */
  resume(now: number): void {
    this.#bytes += this.#earned(now);
    this.#at = now;
  }

  #earned(now: number): number {
    return ((now - this.#at) / 1000) * this.bytesPerSecond;
  }
}
