import { appendFileSync } from "node:fs";
import { isMissing } from "./files";

/** Writes a line to `supervisor.log`. */
export type Journal = (message: string) => void;

/**
 * Writes by the path, not by an open file: an earlier supervisor which ends may remove the file under a start. What cannot be
 * written, on a full disk for example, is counted and said with the next line that can: nothing that is looked after may suffer from it.
 */
export function journalAt(path: string): Journal {
  let lost = 0;
  let reason = "";
  return (message) => {
    const now = new Date().toISOString();
    const before = lost === 0 ? "" : `${now} ${lost} earlier lines could not be written: ${reason}\n`;
    try {
      appendFileSync(path, `${before}${now} ${message}\n`, { mode: 0o600 });
      lost = 0;
    } catch (error) {
      // The directory is gone, and with it whoever would read this.
      if (isMissing(error)) return;
      lost++;
      reason = reasonOf(error);
    }
  };
}

/** An error with its causes, in one line. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} (${reasonOf(error.cause)})`;
}
