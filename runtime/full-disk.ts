/** What file functions answer when a file system has no room left, or this user none on it. */
const full = new Set(["ENOSPC", "EDQUOT"]);

/**
 * An error that says which folder has no room and what was under way, where a full disk is the reason; otherwise the error as it
 * is. The system's own does not name the file when it comes from a write.
 */
export function explainFullDisk(error: unknown, folder: string, what: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined || !full.has(code)) return error;
  const reason = code === "EDQUOT" ? "this user's quota there is used up" : "no space is left on it";
  return new Error(`${folder}: ${reason}, so ${what}; make room there, then run again`, { cause: error });
}
