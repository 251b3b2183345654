import type { Watch } from "../../waiting";
import type { Orphan } from "./orphans";

/** A place where a stack may have left something. */
export interface Site {
  /** Folder of the local platform, or the cluster's namespace and API server: as the document tells it. */
  readonly place: { readonly directory: string } | { readonly namespace: string; readonly server: string };
  readonly name: string;
  /** What is there and no resource knows. */
  readonly find: () => Promise<readonly FoundOrphan[]>;
}

export interface FoundOrphan {
  readonly orphan: Orphan;
  /** Removes it as a deployment would have: instances finish their work first. Absent parts are fine. */
  readonly remove: (watch: Watch) => Promise<void>;
}

/** A place that could not be looked at. */
export interface Unseen {
  readonly name: string;
  readonly reason: string;
}
