import { ownerName } from "../deployment";
import type { Claim, Owner } from "./protocol";
import type { StoredRelease } from "./records";
import { RefusedError } from "./refusal";

/** Why a service refuses what it is asked for, each with what would be right. */
export const serviceRefusals = (service: string) => ({
  ownedByAnother: (claim: Claim, asking: Owner) =>
    new RefusedError(
      "owned-by-another",
      `the service ${service} belongs to the stack ${ownerName(claim.owner)} since ${claim.since}, not to ${ownerName(asking)}: give it another name, or take it over when that stack is no more`,
      claim,
    ),

  hasInstances: (instances: readonly string[]) =>
    new RefusedError(
      "still-serving",
      `the service ${service} still has the instances ${instances.join(", ")}: set the counts of their releases to 0 and wait until they are gone`,
      { instances },
    ),

  serves: (release: string) =>
    new RefusedError(
      "still-serving",
      `the release ${release} serves ${service}: move the traffic to another one first`,
    ),

  superseded: (serving: string | null, expectedServing: string | null) =>
    new RefusedError(
      "superseded",
      `the traffic of ${service} goes to ${serving ?? "no release"}, not to ${expectedServing ?? "no release"}: somebody else has moved it meanwhile`,
      { serving, expectedServing },
    ),

  notProven: ({ id, count }: StoredRelease, proven: number) =>
    new RefusedError(
      "not-proven",
      `of the ${count} wanted instances of ${id}, ${proven} are proven: traffic moves only to a release of at least one instance, all proven`,
      { count, proven },
    ),

  unknownRelease: (release: string) =>
    new RefusedError("not-found", `the service ${service} has no release ${release}`),

  isOver: ({ id, events }: StoredRelease) =>
    new RefusedError("not-found", `the release ${id} of ${service} is over: ${events.at(-1)?.event}`),
});
