import type { Evidence } from "../instance";
import type { AgentMessage, AgentPhase } from "./status";

/** What the agent is busy with, told in `GET /status` and, a line of JSON a phase, on its output. */
export class Journal {
  #phase: AgentPhase = "waiting";
  #detail = "";
  #since = new Date().toISOString();
  evidence: Evidence | null = null;

  constructor(
    private readonly instance: string,
    private readonly write: (line: string) => void = (line) => void process.stdout.write(line),
  ) {}

  get phase(): AgentPhase {
    return this.#phase;
  }
  get detail(): string {
    return this.#detail;
  }
  get phaseSince(): string {
    return this.#since;
  }

  /** Enters a phase, or tells what it waits for; only a new phase is said on the output. */
  enter(phase: AgentPhase, detail = ""): void {
    this.#detail = detail;
    if (phase === this.#phase) return;
    this.#phase = phase;
    this.#since = new Date().toISOString();
    this.say(detail);
  }

  /** What a person who reads the output should know. */
  say(message: string): void {
    const at = new Date().toISOString();
    const line: AgentMessage = { at, instance: this.instance, phase: this.#phase, message };
    this.write(`${JSON.stringify(line)}\n`);
  }
}
