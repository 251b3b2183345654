import { owner, SnapshotContent } from "../../resources";
import type { SnapshotDeclaration } from "../snapshot";

/** Packed by this machine, of a folder of this machine. */
export function localSnapshot({ name, child, workstation, declarations, ...snapshot }: SnapshotDeclaration) {
  const { environment, store, access, models, publish } = snapshot;
  return new SnapshotContent(
    name,
    {
      ...{ environment, store, access, models, publish, declarations },
      workstation: workstation?.declaration,
      owner: owner(),
    },
    child,
  );
}
