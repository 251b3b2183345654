/** When what was seen of a rotation, in milliseconds of one clock. */
export interface RotationSeen {
  /** `pulumi up` was started, and ended. */
  readonly began: number;
  readonly ended: number;
  /** Each instance of the new release: its pod was there, and was proven. */
  readonly instances: readonly { readonly created: number; readonly proven: number }[];
  /** The leading gateway said that the new release serves. */
  readonly moved: number;
  /** The last pod of the old release was gone. */
  readonly gone: number;
}

/** Seconds of the parts of a rotation, one after the other. */
export interface RotationFigures {
  readonly up: number;
  /** From `pulumi up` to the first pod. */
  readonly declared: number;
  /** The instances' own start: from the first pod to the slowest instance's proof. */
  readonly start: number;
  /** From there until traffic had moved. */
  readonly traffic: number;
  /** From there until the last pod of the old release was gone. */
  readonly drain: number;
  /** From there to the end of `pulumi up`. */
  readonly rest: number;
  /** All but the start. */
  readonly own: number;
}

export function rotationFigures({ began, ended, instances, moved, gone }: RotationSeen): RotationFigures {
  if (instances.length === 0) throw new Error("no instance of the new release was seen");
  const first = Math.min(...instances.map(({ created }) => created));
  const proven = Math.max(...instances.map((instance) => instance.proven));
  const between = (from: number, to: number) => (to - from) / 1000;
  const up = between(began, ended);
  const start = between(first, proven);
  return {
    up,
    declared: between(began, first),
    start,
    traffic: between(proven, moved),
    drain: between(moved, gone),
    rest: between(gone, ended),
    own: up - start,
  };
}

/** The largest number of events in any span of so many milliseconds. */
export function mostWithin(span: number, times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  let most = 0;
  for (let from = 0, to = 0; to < sorted.length; to++) {
    while ((sorted[to] ?? 0) - (sorted[from] ?? 0) >= span) from++;
    most = Math.max(most, to - from + 1);
  }
  return most;
}
