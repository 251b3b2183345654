/** Results that come in any order, each dealt with in the order in which it was asked for. */
export class InOrder {
  #last: Promise<void> = Promise.resolve();
  readonly #failed: (error: unknown) => void;

  /** `failed` gets to know of the first error, after which nothing is dealt with any more. */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  add<Result>(result: Promise<Result>, deal: (result: Result) => void | Promise<void>): void {
    const before = this.#last;
    this.#last = (async () => {
      await before;
      await deal(await result);
    })();
    this.#last.catch(this.#failed);
  }

  /** Ends when everything that was added so far was dealt with, or throws the first error. */
  done(): Promise<void> {
    return this.#last;
  }
}
