import { z } from "zod";
import { type Claim, ownerName, sameOwner, withEvent, withRelease } from "../../runtime/deployment";
import { deleteNodeGroup } from "../../runtime/eks";
import {
  ConflictError,
  deploymentOf,
  GatewayStatusWatch,
  isAvailable,
  ownedByAnother,
  removeReleasesOf,
  type ServiceRecords,
} from "../../runtime/kubernetes";
import { DeadlineError, waitFor } from "../../runtime/waiting";
import type { Context } from "../context";
import { ownerSchema } from "../declarations/common";
import { changed, type ResourceDefinition, unchanged } from "../resource";
import { clusterServiceShape, placeInputs, recordsOf } from "./cluster";

const schema = z.object({ ...clusterServiceShape, owner: ownerSchema, release: z.string() });

type Inputs = z.output<typeof schema>;

/** Milliseconds that a Deployment's status may lag behind. */
const provenDeadline = 15_000;
/** Milliseconds that a gateway gets to be there and lead: its first image has to be pulled. */
const gatewayDeadline = 300_000;

/** Points the gateway at a release. The one part of a rotation that is updated in place. */
export const clusterTrafficSwitch: ResourceDefinition<Inputs, object> = {
  schema,
  replaceOn: [...placeInputs],
  live: async (_id, state) =>
    (await (await recordsOf(state)).target()).release === state.release ? unchanged : changed,
  create: async (inputs, context) => {
    await move(inputs, context);
    return { id: inputs.service, outputs: {} };
  },
  update: async (_id, _state, inputs, context) => {
    await move(inputs, context);
    return {};
  },
  delete: async (_id, state, context) => {
    const { assertEngine } = context;
    const records = await recordsOf(state, context);
    const record = await records.record();
    if (record === null) return;
    if (!sameOwner(record.claim.owner, state.owner)) throw new ConflictError(takenOver(state, record.claim));
    if ((await records.target()).release === null) return;
    // A run that was killed may have moved the traffic without the state's knowing: whatever serves an own service, it ends.
    await assertEngine();
    await records.changeTarget((target) => ({ ...target, release: null, revision: 0 }));
  },
  read: async () => ({}),
};

/**
 * Gateway, address and policies have names that are the service's, whoever owns it: this stack's state still lists them, and what it
 * deletes goes for the new owner too. Everything of a fixed name is deleted after the switch, so nothing is when it refuses.
 */
function takenOver({ service, displayUrn }: Inputs, { owner, since }: Claim): string {
  const claim = displayUrn.replace(":ClusterTrafficSwitch::", ":ClusterServiceClaim::");
  return `service ${service} was taken over by ${ownerName(owner)} at ${since}: its gateway and its address are that stack's now, and would go with this one's. Take them out of this stack's state, then run this again: pulumi state delete --target-dependents '${claim}'`;
}

/**
 * Moves the traffic, unless a later release has it: a process that outlived its engine comes too late, and revisions only grow. What
 * is written replaces exactly what was read, so two of them cannot overtake each other.
 */
async function move(inputs: Inputs, context: Context): Promise<void> {
  const { service, release, owner } = inputs;
  const { progress, assertEngine } = context;
  const records = await recordsOf(inputs, context);
  const { claim, releases } = await records.required();
  if (!sameOwner(claim.owner, owner)) throw new ConflictError(ownedByAnother(service, claim, owner));
  const own = releases.find(({ id }) => id === release);
  if (own === undefined) throw new Error(`the record of service ${service} has no release ${release}`);
  await demandProven(records, release, context);
  progress(`moving traffic to ${release}`);
  await assertEngine();
  const { generation } = await records.changeTarget((target) => {
    if (target.revision > own.revision) {
      throw new ConflictError(
        `release ${release} comes too late: the later ${target.release} serves ${service} already. Run pulumi up again`,
      );
    }
    return {
      release,
      revision: own.revision,
      draining: target.draining.filter((id) => id !== release),
    };
  });
  await records.change((record) => {
    const known = record.releases.find(({ id }) => id === release);
    if (known === undefined || known.events.at(-1)?.event === "serving") return record;
    return withRelease(record, withEvent(known, "serving", new Date().toISOString()));
  });
  await untilApplied(records, generation, context);
  progress(`traffic goes to ${release}`);
  await removeReleasesOf(records, (other) => !sameOwner(other, owner), { ...context, removeNodes: deleteNodeGroup });
}

/** The last look before traffic moves: what was proven may have gone since. A Deployment's status may lag behind its pods. */
async function demandProven(records: ServiceRecords, release: string, { progress, signal }: Context): Promise<void> {
  let seen = "";
  try {
    await waitFor({
      what: `the Deployment of ${release} to say that all its instances are ready`,
      deadline: provenDeadline,
      interval: 500,
      progress,
      signal,
      seen: () => seen,
      look: async () => {
        const deployment = await deploymentOf(records, release);
        const { replicas = 0, readyReplicas = 0 } = deployment?.status ?? {};
        seen = `of ${replicas} instances, ${readyReplicas} are proven`;
        return deployment !== null && isAvailable(deployment) ? true : undefined;
      },
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    const rule = "traffic moves only to a release of at least one instance, all proven";
    throw new Error(`${release}: ${seen}; ${rule}. Run pulumi up again`, { cause: error });
  }
}

async function untilApplied(records: ServiceRecords, generation: number, { progress, signal }: Context): Promise<void> {
  const watch = new GatewayStatusWatch(records.cluster, records.service, progress);
  try {
    await watch.start();
    await waitFor({
      what: `the gateway of ${records.service} to apply where the traffic goes`,
      deadline: gatewayDeadline,
      interval: 50,
      progress,
      signal,
      seen: () =>
        watch.current === null
          ? "no gateway has said anything yet"
          : `it has ${watch.current.generation} of ${generation}`,
      look: () => ((watch.current?.generation ?? -1) >= generation ? true : undefined),
    });
  } finally {
    watch.close();
  }
}
