import { resolve } from "node:path";
import { z } from "zod";
import { restore } from "../runtime/snapshot";
import { readWorkstationRecords, type WorkstationDeclaration, type WorkstationState } from "../runtime/supervisor";
import { durationSchema } from "../runtime/units";
import { waitFor } from "../runtime/waiting";
import type { Context } from "./context";
import {
  argumentsSchema,
  environmentSchema,
  environmentVariablesSchema,
  ownerSchema,
  portSchema,
} from "./declarations/common";
import { isToBeFilled } from "./declarations/dev-workstation";
import { storeAccessSchema, storeSettings } from "./declarations/store";
import { localShape, runningSupervisorOf, supervisorOf } from "./local";
import { canonical, changed, type ResourceDefinition, unchanged } from "./resource";

const schema = z.object({
  ...localShape,
  workstation: z.string(),
  owner: ownerSchema,
  environment: environmentSchema,
  /** Snapshot that a folder without an environment is filled with, and what its store needs to be told. */
  from: z.string().optional(),
  fromStore: storeAccessSchema.optional(),
  state: z.enum(["running", "stopped"]).default("running"),
  port: portSchema.optional(),
  arguments: argumentsSchema.default([]),
  environmentVariables: environmentVariablesSchema.default({}),
  startTimeout: durationSchema,
  stopTimeout: durationSchema,
});

type Inputs = z.output<typeof schema>;
interface Outputs {
  readonly url: string;
}

/** Milliseconds by which a stop may outlast its time-out until the process is gone. */
const stopMargin = 60_000;

/** A ComfyUI that works in the environment itself. */
export const workstation: ResourceDefinition<Inputs, Outputs> = {
  schema,
  replaceOn: ["directory", "workstation", "owner"],
  // Two servers on one environment would write to the same folders.
  deleteBeforeReplace: true,
  // What an environment was filled from says nothing of what it is now.
  ignore: ["startTimeout", "from", "fromStore"],
  live: async (_id, state) => {
    const live = await (await runningSupervisorOf(state))?.workstation(state.workstation);
    if (state.state === "stopped")
      return live === undefined || live === null || live.phase === "stopped" ? unchanged : changed;
    return live?.phase === "running" ? unchanged : changed;
  },
  create: async (inputs, context) => ({ id: inputs.workstation, outputs: await declare(inputs, context) }),
  update: async (_id, _state, inputs, context) => declare(inputs, context),
  delete: async (_id, state, { progress }) => {
    progress("stopping, once the running prompt has ended");
    await (await supervisorOf(state)).removeWorkstation(state.workstation);
  },
  read: async (_id, state) => {
    const known = readWorkstationRecords(resolve(state.directory)).some(({ name }) => name === state.workstation);
    return known ? { url: state.url } : null;
  },
};

async function declare(inputs: Inputs, { progress, signal, assertEngine }: Context): Promise<Outputs> {
  const { workstation: name, state, startTimeout, stopTimeout } = inputs;
  await fill(inputs, { progress, signal, assertEngine });
  const supervisor = await supervisorOf(inputs);
  await assertEngine();
  let seen = await supervisor.declareWorkstation(name, declarationOf(inputs));
  const wanted = state === "running" ? "running" : "stopped";
  await waitFor({
    what: `workstation ${name} to be ${wanted}`,
    deadline: state === "running" ? startTimeout + stopTimeout : stopTimeout + stopMargin,
    progress,
    signal,
    seen: () => [seen.phase, seen.detail].filter(Boolean).join(": "),
    look: async () => {
      const now = await supervisor.workstation(name);
      if (now === null) throw new Error(`workstation ${name} was removed by somebody else`);
      seen = now;
      if (state === "running" && now.phase === "failed") throw new Error(failure(now));
      return now.phase === wanted ? true : undefined;
    },
  });
  progress(`${wanted} at ${seen.url}`);
  return { url: seen.url };
}

/** Brings the snapshot that it is to begin with into a folder that has no environment. */
async function fill(
  { environment, from, fromStore }: Inputs,
  { progress, signal, assertEngine }: Pick<Context, "progress" | "signal" | "assertEngine">,
): Promise<void> {
  if (from === undefined || !isToBeFilled(environment)) return;
  await assertEngine();
  const target = resolve(environment.root);
  const settings = storeSettings(fromStore);
  const { head } = await restore({ reference: from, settings, target, progress, signal });
  if (canonical(head.layout) === canonical(environment.layout)) return;
  throw new Error(
    `${target} was filled from ${from}, whose layout is ${JSON.stringify(head.layout)}: declare the environment with that layout`,
  );
}

function declarationOf(inputs: Inputs): WorkstationDeclaration {
  const { owner, environment, state, port = null, environmentVariables, stopTimeout } = inputs;
  return {
    owner,
    root: resolve(environment.root),
    layout: environment.layout,
    port,
    arguments: inputs.arguments,
    environmentVariables,
    state,
    stopDeadline: stopTimeout,
  };
}

function failure({ name, evidence, log }: WorkstationState): string {
  const output = evidence?.traceback?.split("\n") ?? evidence?.logTail.slice(-15) ?? [];
  return [
    `workstation ${name} does not start: ${evidence?.reason ?? `see ${log}`}`,
    ...output.map((line) => `    ${line}`),
  ].join("\n");
}
