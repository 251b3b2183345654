/** What file functions answer when a file system has no room left, or this user none on it. */
const full = new Set(["ENOSPC", "EDQUOT"]);

/** Whether an error, or what caused it, is that a file system has no room left. */
export function isFullDisk(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof NoRoomError || full.has((at as NodeJS.ErrnoException).code ?? "")) return true;
  }
  return false;
}

/** A file system has too little room for what is to be written. */
export class NoRoomError extends Error {
  override readonly name = "NoRoomError";
}

/**
 * An error that says which folder has no room and what was under way, where a full disk is the reason; otherwise the error as it
 * is. The system's own does not name the file when it comes from a write.
 */
export function explainFullDisk(error: unknown, folder: string, what: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined || !full.has(code)) return error;
  const reason = code === "EDQUOT" ? "this user's quota there is used up" : "no space is left on it";
  return new NoRoomError(`${folder}: ${reason}, so ${what}; make room there, then run again`, { cause: error });
}
