/** The folders of a spool; what is in one appears, and goes, as a whole. The empty one is the spool's own. */
export type SpoolFolder = "results" | "uploads" | "prompts" | "";

/** Is told of what changes in a spool, when it has appeared and before it goes. */
export interface SpoolChanges {
  put(folder: SpoolFolder, name: string): void;
  remove(folder: SpoolFolder, name: string): void;
}

export const unwatched: SpoolChanges = { put: () => {}, remove: () => {} };
