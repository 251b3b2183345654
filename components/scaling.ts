/** See {@link fixed}. */
export interface FixedScaling {
  readonly kind: "fixed";
  readonly count: number;
}

/** How many instances a service has. */
export type Scaling = FixedScaling;

/** So many instances, at least one. Changing the count starts or drains instances in place: no rotation. */
export function fixed(count: number): FixedScaling {
  return { kind: "fixed", count };
}
