/** One thing that is wrong with what a person wrote: where, what was found, and what would be right. */
export interface Problem {
  /** Property path as the person wrote it, for example `scaling.count`. */
  readonly path: string;
  /** What is wrong and what would be right, in one sentence. Names the value found. Never contains a secret. */
  readonly reason: string;
}

/** Bad input. Carries every problem found, not only the first. */
export class InvalidInputError extends Error {
  override readonly name = "InvalidInputError";

  constructor(readonly problems: readonly Problem[]) {
    super(problems.map(({ path, reason }) => `${path}: ${reason}`).join("\n"));
  }
}
