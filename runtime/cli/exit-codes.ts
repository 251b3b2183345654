/** What a script can tell from the command's exit code; docs/cli.md says what each command answers with. */
export const exitCodes = {
  /** Done; healthy; unchanged; nothing to recover. */
  done: 0,
  /** Failed: what was asked for did not happen, or could not be found out. */
  failed: 1,
  /** Bad usage or bad input: the same call cannot succeed. */
  badInput: 2,
  /** The answer is no, and finding that out worked: changed, damaged, unhealthy, nothing there, not confirmed. */
  no: 3,
  /** Ended by Ctrl-C or SIGTERM before it was done, as shells count SIGINT. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
