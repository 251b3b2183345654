import { compareBytes } from "./paths";
import type { CountedEntry } from "./types";

export interface Difference {
  /** Relative to the environment's root. */
  readonly path: string;
  readonly change: "added" | "removed" | "changed";
  /** What of it, for a person: `file`, `content`, `now executable`, `link: a → b`. */
  readonly what: string;
}

/** Why two environments have different identities: every counted path in which they differ, sorted. Empty when they are the same. */
export function explainDifference(
  before: readonly CountedEntry[],
  after: readonly CountedEntry[],
): readonly Difference[] {
  const earlier = new Map(before.map((entry) => [entry.path, entry]));
  const later = new Map(after.map((entry) => [entry.path, entry]));
  const paths = [...new Set([...earlier.keys(), ...later.keys()])].sort(compareBytes);
  return paths.flatMap((path): Difference[] => {
    const [old, current] = [earlier.get(path), later.get(path)];
    if (old === undefined) return current === undefined ? [] : [{ path, change: "added", what: kindOf(current) }];
    if (current === undefined) return [{ path, change: "removed", what: kindOf(old) }];
    const what = changesBetween(old, current);
    return what.length === 0 ? [] : [{ path, change: "changed", what: what.join(", ") }];
  });
}

function changesBetween(old: CountedEntry, current: CountedEntry): readonly string[] {
  if (old.type !== current.type) return [`${old.type} → ${current.type}`];
  const changes: string[] = [];
  if (old.content !== current.content) {
    changes.push(current.type === "link" ? `link: ${old.content} → ${current.content}` : "content");
  }
  if (old.executable !== current.executable)
    changes.push(current.executable ? "now executable" : "no longer executable");
  return changes;
}

function kindOf({ type, executable }: CountedEntry): string {
  return type === "file" && executable ? "executable file" : type;
}
