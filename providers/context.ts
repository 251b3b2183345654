import type { Watch } from "../runtime/waiting";

/** What an operation on a resource has to do with the engine that asked for it. */
export interface Context extends Watch {
  /** Shown once, kept in the run's output. */
  readonly info: (message: string) => void;
  readonly warn: (message: string) => void;
  /** Fails when the engine is gone: asked right before anything that must not happen after its end. */
  readonly assertEngine: () => Promise<void>;
}
