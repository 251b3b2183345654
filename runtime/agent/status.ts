import type { Evidence, Phase } from "../instance";

/** What an agent answers at `GET /status`. */
export interface AgentStatus {
  readonly protocol: 1;
  readonly service: string;
  readonly release: string;
  /** `<release>/<what the pod's name has after the Deployment's>`. */
  readonly instance: string;
  readonly phase: AgentPhase;
  /** What the phase is busy with, for example restore progress. */
  readonly detail: string;
  /** ISO 8601. */
  readonly phaseSince: string;
  /** As `GET /started`, `/ready` and `/live` answer. */
  readonly started: boolean;
  readonly ready: boolean;
  readonly live: boolean;
  /** ComfyUI's starts in this pod so far. */
  readonly start: number;
  /** Running plus waiting prompts as it last answered; null before it is proven, and while it does not answer. */
  readonly queueRemaining: number | null;
  readonly draining: boolean;
  /** Whether a gateway has said that nothing of this instance is needed any more. */
  readonly released: boolean;
  /** Why it failed, or how the last start that was not wanted to end did. */
  readonly evidence: Evidence | null;
}

export type AgentPhase = Exclude<Phase, "stopping">;

/** A line of the agent's output: one JSON object a line. */
export interface AgentMessage {
  /** ISO 8601. */
  readonly at: string;
  readonly instance: string;
  readonly phase: AgentPhase;
  readonly message: string;
}
