/** What the command has around it: a real process gives its own, a test gives what it wants to look at. */
export interface Surroundings {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  /** Folder that relative paths are relative to; absolute. */
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Aborted when the person interrupts. */
  readonly signal: AbortSignal;
  /** Asks a question at the terminal and gives the answer; null where nobody can answer. */
  readonly ask: ((question: string) => Promise<string>) | null;
}

export interface TextStream {
  write(text: string): void;
  /** Writes bytes, and is done when there is room for more. */
  writeBytes(bytes: Uint8Array): Promise<void>;
  /** Columns of the terminal behind it, or null when it is a file or a pipe. */
  readonly columns: number | null;
}

/** Thrown through {@link Surroundings.signal} when the person, or the system, ends the command. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
}
