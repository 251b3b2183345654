/** How long the gateway waits for who may be hung. Milliseconds. */
export interface Timeouts {
  /** For a client's connection to the instance to stand before its prompt is sent there. Default 15 s. */
  readonly socket: number;
  /** Of silence after a prompt was sent; validation takes milliseconds, a held interpreter lock seconds. Default 60 s. */
  readonly answer: number;
  /** For an instance to say whether it has a prompt whose request got no answer. Default 30 s. */
  readonly clarify: number;
  /** For the head of a client's request to be complete. Default 30 s. */
  readonly head: number;
}

export const defaultTimeouts: Timeouts = { socket: 15_000, answer: 60_000, clarify: 30_000, head: 30_000 };
