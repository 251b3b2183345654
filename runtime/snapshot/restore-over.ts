import type { Watch } from "../waiting";
import {
  giveUpMark,
  incompleteReason,
  markIncomplete,
  removeMark,
  requireNoMarker,
  requireOwnMark,
} from "./incomplete";
import type { Manifest } from "./manifest-file";
import { Pace } from "./pace";
import { relocateTree } from "./relocate-tree";
import { RestoreRecord, recordContents, writeRecord } from "./restore-record";
import type { ThreadChoice } from "./restore-workers";
import { RestoredComparison } from "./restored-comparison";
import { EntryLooks } from "./restored-look";
import type { FileWriter } from "./write-tree";

export interface RestoreOver {
  readonly manifest: Manifest;
  /** Writes the files that differ. */
  readonly write: FileWriter;
  readonly reference: string;
  /** Absolute path of an earlier restore that nothing uses now. */
  readonly target: string;
  readonly location: string;
  /** Whether only processes that are known to run may be restoring over it as well. */
  readonly alone: boolean;
}

/** An earlier restore, and what there is to look at it with. Must be closed. */
export class EarlierRestore {
  readonly record: RestoreRecord | null;
  readonly looks: EntryLooks;

  /** Threads look at once, where they are of use, at what the earlier restore left there: the snapshot is still to be read. */
  constructor(target: string, threads: ThreadChoice) {
    this.record = RestoreRecord.read(target);
    this.looks = new EntryLooks(target, this.record?.paths ?? [], this.record?.trustedUntil ?? 0, threads);
  }

  close(): Promise<void> {
    return this.looks.close();
  }
}

/**
 * Makes an earlier restore into that of another snapshot, and writes only what differs. Meanwhile, and after a kill until it is
 * run again, the folder is marked as incomplete. What travels but is not in the snapshot is removed, a folder with all it holds;
 * what never travels stays. Returns remarks on what was rewritten for the location.
 */
export async function restoreOver(
  request: RestoreOver,
  earlier: EarlierRestore,
  watch: Partial<Watch> & ThreadChoice,
): Promise<readonly string[]> {
  const { manifest, target, location } = request;
  if (earlier.record === null && incompleteReason(target) === null) {
    throw new Error(
      `${target} is not known to be an earlier restore, so that nothing in it is removed or replaced; give one, or a folder that does not exist yet`,
    );
  }
  requireNoMarker(manifest);
  const { token, wasComplete } = markIncomplete(target, request.reference, request.alone);
  try {
    // Should another process have restored over it since the record was read: what that one wrote has changed since by its times. What was
    // seen until now was before that.
    const isAsSeen = wasComplete && earlier.record?.isOf(target) === true;
    const comparison = new RestoredComparison(request, earlier.record, new Pace(watch));
    await comparison.run(earlier.looks, isAsSeen);
    requireOwnMark(target, token);
    const written = await comparison.apply(watch);
    const remarks = relocateTree({ ...manifest, entries: written }, target, location);
    comparison.finishFolders();
    requireOwnMark(target, token);
    writeRecord(target, { target, location, contents: recordContents(manifest.entries, comparison.hasOnlyEntries) });
    removeMark(target);
    return remarks;
  } catch (error) {
    giveUpMark(target, token);
    throw error;
  }
}
