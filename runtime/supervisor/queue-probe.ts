import { ComfyUI } from "../health";

/** Milliseconds for which an answer counts as fresh. */
const fresh = 400;
/** Milliseconds after which an answer that is under way is not waited for any longer. */
const patience = 400;

/** How many prompts a ComfyUI process has left. Asked when somebody wants to know, one request at a time. */
export class QueueProbe {
  private value: number | null = null;
  private at = Number.NEGATIVE_INFINITY;
  private asking: Promise<void> | null = null;

  constructor(private readonly url: string) {}

  /** The latest answer: of now, or of shortly before where the process is slow. Null when it has not answered yet. */
  async latest(): Promise<number | null> {
    if (performance.now() - this.at < fresh) return this.value;
    const waiting = new AbortController();
    const timer = setTimeout(() => waiting.abort(), patience);
    await Promise.race([
      this.ask(),
      new Promise<void>((resolve) => waiting.signal.addEventListener("abort", () => resolve(), { once: true })),
    ]);
    clearTimeout(timer);
    return this.value;
  }

  /** What it answers now, or null when it does not. */
  async now(): Promise<number | null> {
    const answer = await new ComfyUI(this.url, new AbortController().signal).queueRemaining();
    if (answer !== null) this.remember(answer);
    return answer;
  }

  private ask(): Promise<void> {
    this.asking ??= this.now()
      .then(() => undefined)
      .finally(() => {
        this.asking = null;
      });
    return this.asking;
  }

  private remember(answer: number): void {
    this.value = answer;
    this.at = performance.now();
  }
}
