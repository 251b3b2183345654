import type { Owner, SupervisorClient } from "../../supervisor";
import { type Watch, waitFor } from "../../waiting";
import { hasEnded } from "../platform-view";
import { type LocalOrphan, nameOf } from "./orphans";

/** Milliseconds beyond a drain's own deadline: for the processes to end and their folders to be removed. */
const endingTime = 60_000;

/** Removes an orphan as a deployment would have: instances finish their work first. Absent parts are fine. */
export async function removeOrphan(orphan: LocalOrphan, supervisor: SupervisorClient, watch: Watch): Promise<void> {
  switch (orphan.kind) {
    case "workstation":
      watch.progress(`stopping ${nameOf(orphan)}: its running prompt may finish`);
      return supervisor.removeWorkstation(orphan.workstation);
    case "traffic":
      return supervisor.clearTarget(orphan.service);
    case "gateway":
      return supervisor.removeGateway(orphan.service);
    case "instances":
      if (orphan.serves) await supervisor.clearTarget(orphan.service);
      return drain(orphan.service, [orphan.release], supervisor, watch);
    case "release":
      if (orphan.serves) await supervisor.clearTarget(orphan.service);
      await drain(orphan.service, [orphan.release], supervisor, watch);
      return supervisor.removeRelease(orphan.service, orphan.release);
    case "service":
      return removeService(orphan.service, supervisor, watch);
  }
}

async function removeService(name: string, supervisor: SupervisorClient, watch: Watch): Promise<void> {
  const service = await supervisor.service(name);
  if (service === null) return;
  const owner: Owner = service.claim.owner;
  if (service.serving !== null) await supervisor.clearTarget(name);
  const releases = service.releases.filter((release) => !hasEnded(release)).map(({ id }) => id);
  await drain(name, releases, supervisor, watch);
  for (const release of releases) await supervisor.removeRelease(name, release);
  await supervisor.removeGateway(name);
  await supervisor.releaseClaim(name, owner);
}

/** Lets the instances of releases finish what they have and go; fails when a drain's deadline passes under `keep`. */
async function drain(
  name: string,
  releases: readonly string[],
  supervisor: SupervisorClient,
  watch: Watch,
): Promise<void> {
  for (const release of releases) await supervisor.setCount(name, release, 0);
  const settings = (await supervisor.service(name))?.settings;
  if (settings === undefined) return;
  let left = "";
  await waitFor({
    what: `the instances of ${releases.join(", ")} to finish their work`,
    deadline: settings.drain.deadline + endingTime,
    ...watch,
    seen: () => left,
    look: async () => {
      const service = await supervisor.service(name);
      if (service === null) return true;
      const refused = service.releases.find(({ id, drain }) => releases.includes(id) && drain?.refused)?.drain?.refused;
      if (refused) throw new Error(`${refused.message}; run recover again to give it another deadline`);
      const instances = service.instances.filter(({ release }) => releases.includes(release));
      left = instances
        .map(({ id, phase, queueRemaining }) => `${id} ${phase}, queue ${queueRemaining ?? "?"}`)
        .join("; ");
      return instances.length === 0 ? true : undefined;
    },
  });
}
