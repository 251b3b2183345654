import type { InstanceState } from "./targets";

/** What a decision needs to know of an instance. */
export interface Candidate {
  readonly id: string;
  readonly release: string;
  readonly state: InstanceState;
  /** Whether it answered when it was last asked. */
  readonly answering: boolean;
  /** Prompts that it runs, has waiting, or is just being sent. */
  readonly load: number;
  /** Grows with every decision of the gateway; the instance's last one. Equal loads take turns by it. */
  readonly lastChosen: number;
}

export interface Choice<T extends Candidate> {
  readonly instances: Iterable<T>;
  /** Only instances of this release; none for null. */
  readonly release: string | null;
  /** The instance that the client had so far. */
  readonly preferred: string | undefined;
  /** Instances that were tried already. */
  readonly excluded?: ReadonlySet<T>;
}

/**
 * The instance for a new prompt: the client's own while it is ready, else the one that answers and has the shortest queue.
 * Null when no ready instance of the release is left.
 */
export function chooseInstance<T extends Candidate>({ instances, release, preferred, excluded }: Choice<T>): T | null {
  const eligible = [...instances].filter(
    (instance) => instance.state === "ready" && instance.release === release && !excluded?.has(instance),
  );
  const own = eligible.find(({ id }) => id === preferred);
  if (own !== undefined) return own;
  return eligible.sort(byQueue)[0] ?? null;
}

function byQueue(a: Candidate, b: Candidate): number {
  return Number(b.answering) - Number(a.answering) || a.load - b.load || a.lastChosen - b.lastChosen;
}
