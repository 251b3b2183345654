/** Exit codes of `agent.js pack`, besides 0. */
export const packExits = {
  /** Another run would come to the same: the environment, the store's settings or its credentials have to be changed. */
  fault: 70,
  /** Another run may go better: the store could not be reached, say. */
  passing: 75,
  /** It was told to end: 128 and SIGTERM. */
  ended: 143,
} as const;
