import type { Journal } from "./journal";
import { adoptProcess, findMarked, killMarked, type ProcessIdentity, type RunningProcess } from "./processes";

/**
 * The process that an earlier supervisor recorded, when it is still alive. Otherwise ends whatever of it is left, so that
 * a start meets no process that holds its port or writes to its folders; also one whose record was not written any more.
 */
export function adoptOrClear(recorded: ProcessIdentity | null, mark: string, journal: Journal): RunningProcess | null {
  const adopted = recorded === null ? null : adoptProcess(recorded);
  if (adopted !== null) {
    journal(`${mark}: took over process ${adopted.identity.pid}`);
    return adopted;
  }
  const left = findMarked(mark);
  if (left.length > 0) journal(`${mark}: ends ${left.map(({ pid }) => pid).join(", ")}, left of an earlier start`);
  killMarked(mark);
  return null;
}
