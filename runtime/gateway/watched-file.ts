import { type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { z } from "zod";

/** Milliseconds between two looks that need no notice from the system, which may drop notices or offer none. */
const pollInterval = 500;

export interface WatchedFileOptions<T> {
  readonly path: string;
  readonly schema: z.ZodType<T>;
  /** Receives the content when it was first read and whenever it differs from what was last read. */
  readonly onChange: (value: T) => void;
  /** Receives what is wrong with the file, once for each content; what was read before stays in force. */
  readonly onProblem: (problem: string) => void;
}

/** A JSON file that somebody else replaces as a whole. */
export class WatchedFile<T> {
  private watcher: FSWatcher | null = null;
  private timer: NodeJS.Timeout | null = null;
  private lastSeen: string | null = null;
  private reading: Promise<void> | null = null;
  private readAgain = false;
  private closed = false;

  constructor(private readonly options: WatchedFileOptions<T>) {}

  /** Reads the file once, then watches it. A missing file is looked for until it is there. */
  async start(): Promise<void> {
    const { path, onProblem } = this.options;
    try {
      this.watcher = watch(dirname(path), (_event, name) => {
        if (name === null || name === basename(path)) void this.read();
      });
      this.watcher.on("error", (error) => onProblem(`${path} is now only polled: ${error.message}`));
    } catch (error) {
      onProblem(`${path} is only polled: ${(error as Error).message}`);
    }
    await this.read();
    this.timer = setInterval(() => void this.read(), pollInterval);
  }

  close(): void {
    this.closed = true;
    this.watcher?.close();
    if (this.timer !== null) clearInterval(this.timer);
  }

  private read(): Promise<void> {
    if (this.reading !== null) {
      this.readAgain = true;
      return this.reading;
    }
    this.reading = this.readOnce().finally(() => {
      this.reading = null;
      if (this.readAgain && !this.closed) {
        this.readAgain = false;
        void this.read();
      }
    });
    return this.reading;
  }

  private async readOnce(): Promise<void> {
    const { path, schema, onChange, onProblem } = this.options;
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      const problem = (error as Error).message;
      if (problem !== this.lastSeen && !this.closed) onProblem(`cannot read ${path}: ${problem}`);
      this.lastSeen = problem;
      return;
    }
    if (text === this.lastSeen || this.closed) return;
    this.lastSeen = text;
    let value: T;
    try {
      value = schema.parse(JSON.parse(text));
    } catch (error) {
      onProblem(
        `${path} is ignored: ${error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message}`,
      );
      return;
    }
    onChange(value);
  }
}
