import { resolve } from "node:path";
import { z } from "zod";
import type { ReleaseSpec, ServiceRecord } from "../runtime/supervisor";
import { argumentsSchema, environmentVariablesSchema, ownerSchema } from "./declarations/common";
import { healthSchema, workflowSchema } from "./declarations/online-service";
import { storeAccessSchema, storeSettings } from "./declarations/store";
import { recordedService, serviceShape, supervisorOf } from "./local";
import { checkRelease } from "./release-check";
import { type ResourceDefinition, unchanged } from "./resource";

const schema = z.object({
  ...serviceShape,
  owner: ownerSchema,
  snapshot: z.string(),
  /** What its store in S3 needs to be told. */
  store: storeAccessSchema.optional(),
  models: z.string().optional(),
  arguments: argumentsSchema.default([]),
  environmentVariables: environmentVariablesSchema.default({}),
  health: healthSchema.omit({ timeout: true }).extend({ smoke: z.union([z.string(), workflowSchema]).optional() }),
});

type Inputs = z.output<typeof schema>;
interface Outputs {
  readonly revision: number;
}

/** What instances start with. A change of any of it is a new release: the old one is replaced, create before delete. */
export const release: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: [
    "directory",
    "service",
    "owner",
    "snapshot",
    "store",
    "models",
    "arguments",
    "environmentVariables",
    "health",
  ],
  check: (inputs) => checkRelease(inputs, { here: true }),
  live: async (id, state) => {
    // A platform that does not run is mended by its instances; one that has lost the release needs another.
    const service = recordedService(state);
    const own = service?.releases.find((known) => known.id === id);
    const usable = service !== undefined && own !== undefined && !isRemoved(own) && !isOvertaken(service, own);
    return usable ? unchanged : { changes: true, replaces: ["service"] };
  },
  create: async (inputs, { assertEngine }) => {
    const supervisor = await supervisorOf(inputs);
    await assertEngine();
    const { id, revision } = await supervisor.createRelease(inputs.service, {
      owner: inputs.owner,
      spec: specOf(inputs),
    });
    return { id, outputs: { revision } };
  },
  update: async (_id, { revision }) => ({ revision }),
  delete: async (id, state) => (await supervisorOf(state)).removeRelease(state.service, id),
  read: async (id, state) => {
    const known = recordedService(state)?.releases.find((candidate) => candidate.id === id);
    return known === undefined || isRemoved(known) ? null : { revision: known.revision };
  },
};

function isRemoved({ events }: { readonly events: readonly { readonly event: string }[] }): boolean {
  return events.some(({ event }) => event === "removed" || event === "abandoned");
}

/** Whether a later release serves, of a stack that had the service meanwhile or of a state that was lost: traffic never moves back to an earlier one. */
function isOvertaken({ releases, serving }: ServiceRecord, { revision }: ServiceRecord["releases"][number]): boolean {
  return releases.some((later) => later.id === serving && later.revision > revision);
}

function specOf(inputs: Inputs): ReleaseSpec {
  const { startTimeout, stableFor, smoke, smokeTimeout, acceptFailing } = inputs.health;
  return {
    snapshot: inputs.snapshot,
    ...(inputs.store === undefined ? {} : { store: storeSettings(inputs.store) }),
    models: inputs.models === undefined ? null : resolve(inputs.models),
    arguments: inputs.arguments,
    environmentVariables: inputs.environmentVariables,
    health: {
      startTimeout,
      stableFor,
      smoke: typeof smoke === "object" ? smoke : null,
      smokeTimeout,
      acceptFailing,
    },
  };
}
