import Table from "cli-table3";
import type { Surroundings, TextStream } from "./surroundings";

export interface OutputOptions {
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
}

/** Milliseconds between two progress lines where they are not redrawn: a log should not fill with them. */
const plainProgressInterval = 5000;

/** Where a command's answer, progress and remarks go. The answer is all that is ever written to stdout. */
export class Output {
  readonly json: boolean;
  private readonly quiet: boolean;
  private readonly stdout: TextStream;
  private readonly stderr: TextStream;
  private lineIsOpen = false;
  private lastPlain = Number.NEGATIVE_INFINITY;
  private lastProgress = "";

  constructor({ stdout, stderr }: Pick<Surroundings, "stdout" | "stderr">, options: OutputOptions) {
    this.stdout = stdout;
    this.stderr = stderr;
    this.json = options.json ?? false;
    this.quiet = options.quiet ?? false;
  }

  /** Says what is being done: in one line that is redrawn on a terminal, else in a line now and then. */
  readonly progress = (message: string): void => {
    if (this.quiet || message === this.lastProgress) return;
    this.lastProgress = message;
    if (this.stderr.columns !== null) {
      // One column is left free: a line that fills the terminal wraps on some, and would not be cleared.
      const text = message.replace(/\s+/g, " ").slice(0, Math.max(this.stderr.columns - 1, 1));
      this.stderr.write(`\r\u001b[2K${text}`);
      this.lineIsOpen = true;
      return;
    }
    if (performance.now() - this.lastPlain < plainProgressInterval) return;
    this.lastPlain = performance.now();
    this.stderr.write(`${message}\n`);
  };

  /** Tells the person something that is not part of the answer, on a line of its own. */
  remark(message: string): void {
    this.clearProgress();
    this.stderr.write(`${message}\n`);
  }

  /** Gives the answer, once: the document with `--json`, else the text. */
  result(document: unknown, text: () => string): void {
    this.clearProgress();
    const answer = this.json ? JSON.stringify(document, null, 2) : text();
    if (answer !== "") this.stdout.write(answer.endsWith("\n") ? answer : `${answer}\n`);
  }

  /** Whether a person looks at the answer: what follows takes the place of what was shown. */
  get isTerminal(): boolean {
    return this.stdout.columns !== null;
  }

  /** Shows one of several answers that follow each other: in place of the last one on a terminal, else below it. */
  frame(text: string): void {
    this.clearProgress();
    this.stdout.write(this.stdout.columns === null ? `${text}\n\n` : `\u001b[H\u001b[2J${text}\n`);
  }

  /** Takes the progress line away; to be called before anything else writes to the terminal. */
  clearProgress(): void {
    if (this.lineIsOpen) this.stderr.write("\r\u001b[2K");
    this.lineIsOpen = false;
  }
}

export type Cell = string | number | null | undefined;

/** Rows under a heading, without frames or colours, so that `grep` and `awk` are of use. Null and undefined become `-`. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const sides = ["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right"];
  const lines = ["left", "left-mid", "mid", "mid-mid", "right", "right-mid"];
  const noFrame = Object.fromEntries([...sides, ...lines].map((part) => [part, ""]));
  const grid = new Table({
    head: [...head],
    chars: { ...noFrame, middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  for (const row of rows) grid.push(row.map((cell) => (cell === null || cell === undefined ? "-" : String(cell))));
  return grid
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** Names with values in two columns, for example the facts of a scan. */
export function facts(pairs: readonly (readonly [string, Cell])[]): string {
  const shown = pairs.filter(([, value]) => value !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${value ?? "-"}`).join("\n");
}

/** `1 file`, `3 files`. */
export function count(amount: number, singular: string, plural = `${singular}s`): string {
  return `${amount} ${amount === 1 ? singular : plural}`;
}
