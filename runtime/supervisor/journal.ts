import { appendFileSync } from "node:fs";
import { isMissing } from "./files";

/** Writes a line to `supervisor.log`. */
export type Journal = (message: string) => void;

/** Writes by the path, not by an open file: an earlier supervisor which ends may remove the file under a start. */
export function journalAt(path: string): Journal {
  return (message) => {
    try {
      appendFileSync(path, `${new Date().toISOString()} ${message}\n`, { mode: 0o600 });
    } catch (error) {
      // The directory is gone, and with it whoever would read this.
      if (!isMissing(error)) throw error;
    }
  };
}

/** An error with its causes, in one line. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} (${reasonOf(error.cause)})`;
}
