import type { InstanceFolders } from "./folders";
import { type InstanceRecord, writeInstanceRecord } from "./instance-record";
import type { Evidence, Phase } from "./protocol";

/** What is known of an instance: its record, which survives the supervisor, and what it is busy with right now. */
export class InstanceState {
  phase: Phase;
  /** ISO 8601. */
  phaseSince: string;
  detail = "";
  /** What is wrong but could not be recorded. */
  unrecorded: Evidence | null = null;

  constructor(
    private readonly folders: InstanceFolders,
    private current: InstanceRecord,
    /** Hears of every phase that it enters. */
    private readonly changed: () => void,
  ) {
    this.phase = current.standing === "starting" ? "waiting" : current.standing;
    this.phaseSince = current.since;
  }

  get record(): InstanceRecord {
    return this.current;
  }

  get evidence(): Evidence | null {
    return this.unrecorded ?? this.record.evidence;
  }

  /** What could not be written is not so: whoever asked hears of it, and may ask again. */
  save(change: Partial<InstanceRecord>): void {
    const record = { ...this.current, ...change };
    writeInstanceRecord(this.folders, record);
    this.current = record;
  }

  enter(phase: Phase, detail: string): void {
    this.detail = detail;
    if (phase === this.phase) return;
    this.phase = phase;
    this.phaseSince = new Date().toISOString();
    this.changed();
  }
}
