import { type WorkstationStatus, workstationStatusIn } from "../deployment";
import { WatchedConfigMap } from "./watched-config-map";
import type { WorkstationRecords } from "./workstation-record";

/** What a workstation's agent says of itself. */
export class WorkstationStatusWatch extends WatchedConfigMap<WorkstationStatus> {
  constructor({ cluster, names: { workstation: name } }: WorkstationRecords, problem: (text: string) => void) {
    super(cluster, name, workstationStatusIn, problem);
  }

  /** What the agent of this pod says; null while it has said nothing. */
  of(pod: string): WorkstationStatus | null {
    return this.said?.pod === pod ? this.said : null;
  }
}
