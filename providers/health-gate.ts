import { z } from "zod";
import { servingText } from "../runtime/deployment";
import {
  type Evidence,
  failRelease,
  type InstanceStatus,
  type ServiceState,
  type SupervisorClient,
} from "../runtime/supervisor";
import { durationSchema } from "../runtime/units";
import { DeadlineError, waitFor } from "../runtime/waiting";
import type { Context } from "./context";
import { countSchema } from "./declarations/scaling";
import { instancesOf, isGoing, requiredService, untilDrained } from "./drain";
import { lookUpService, serviceShape, supervisorOf } from "./local";
import { changed, type ResourceDefinition, unchanged } from "./resource";

const schema = z.object({ ...serviceShape, release: z.string(), count: countSchema, timeout: durationSchema });

type Inputs = z.output<typeof schema>;

/** Milliseconds between two looks at the instances. */
const interval = 250;

/** Passes when every instance of a release is proven; going away, it waits until their work is done. */
export const healthGate: ResourceDefinition<Inputs, object> = {
  schema,
  replaceOn: ["directory", "service", "release"],
  ignore: ["timeout"],
  live: async (_id, state) => {
    const service = await lookUpService(state);
    return service !== null && isSettled(service, state.release, state.count) ? unchanged : changed;
  },
  create: async (inputs, context) => {
    const { service, release, count } = inputs;
    const supervisor = await supervisorOf(inputs);
    await context.assertEngine();
    // A gate that failed took the instances away to free what they hold; its next attempt needs them back.
    await supervisor.setCount(service, release, count);
    try {
      await untilSettled(supervisor, inputs, context);
    } catch (error) {
      if (context.signal.aborted) throw error;
      throw await failed(supervisor, inputs, error as Error);
    }
    return { id: release, outputs: {} };
  },
  update: async (_id, _state, inputs, context) => {
    const supervisor = await supervisorOf(inputs);
    await context.assertEngine();
    await supervisor.setCount(inputs.service, inputs.release, inputs.count);
    await untilSettled(supervisor, inputs, context);
    return {};
  },
  delete: async (_id, { directory, service, release }, context) => {
    const supervisor = await supervisorOf({ directory });
    const state = await supervisor.service(service);
    if (!state?.releases.some(({ id }) => id === release)) return;
    if (state.serving === release) {
      throw new Error(servingText(release, service));
    }
    await context.assertEngine();
    await supervisor.setCount(service, release, 0);
    await untilDrained(supervisor, service, release, 0, context);
  },
  read: async () => ({}),
};

/** Whether exactly the wanted instances are there, and all of them proven. */
function isSettled(service: ServiceState, release: string, count: number): boolean {
  const instances = instancesOf(service, release);
  const wanted = service.releases.find(({ id }) => id === release)?.count;
  return wanted === count && instances.length === count && instances.every(({ phase }) => phase === "proven");
}

/** An instance will not become proven by waiting longer. */
class UnhealthyError extends Error {
  override readonly name = "UnhealthyError";
  constructor(readonly evidence: readonly Evidence[]) {
    super(evidence.map(describe).join("\n"));
  }
}

async function untilSettled(supervisor: SupervisorClient, inputs: Inputs, context: Context): Promise<void> {
  const { service, release, count, timeout } = inputs;
  let instances: readonly InstanceStatus[] = [];
  try {
    await waitFor({
      what: `${count} ${count === 1 ? "instance" : "instances"} of ${release} to be proven`,
      deadline: timeout,
      interval,
      progress: context.progress,
      signal: context.signal,
      seen: () =>
        summarize(
          instances.filter((instance) => !isGoing(instance)),
          count,
        ),
      look: async () => {
        const state = await requiredService(supervisor, service);
        instances = instancesOf(state, release);
        const wanted = instances.filter((instance) => !isGoing(instance));
        const failed = wanted.flatMap(({ phase, evidence }) =>
          phase === "failed" && evidence !== null ? [evidence] : [],
        );
        if (failed.length > 0) throw new UnhealthyError(failed);
        return wanted.length === count && wanted.every(({ phase }) => phase === "proven") ? true : undefined;
      },
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    const late = instances.filter(({ phase }) => phase !== "proven" && phase !== "draining" && phase !== "stopping");
    const logs = late.flatMap(({ id, log, evidence }) => [
      `${id} writes to ${log}`,
      ...(evidence ? [describe(evidence)] : []),
    ]);
    throw new Error([error.message, ...logs].join("\n"), { cause: error });
  }
  await untilDrained(supervisor, service, release, count, context);
  context.progress(`${count} of ${count} proven`);
}

async function failed(supervisor: SupervisorClient, inputs: Inputs, error: Error): Promise<Error> {
  const detail =
    error instanceof UnhealthyError ? error.evidence.map(({ reason }) => reason).join("; ") : error.message;
  const consequence = await failRelease(supervisor, inputs, detail);
  return new Error(`release ${inputs.release} is not healthy; ${consequence}\n${error.message}`, { cause: error });
}

function summarize(instances: readonly InstanceStatus[], count: number): string {
  const proven = instances.filter(({ phase }) => phase === "proven").length;
  const others = instances
    .filter(({ phase }) => phase !== "proven")
    .map(({ id, phase, detail }) => `${id} ${phase}${detail ? ` (${detail})` : ""}`);
  return [`${proven} of ${count} proven`, ...others].join("; ");
}

function describe({ instance, phase, reason, traceback, logTail }: Evidence): string {
  const lines = [`instance ${instance} failed while ${phase}: ${reason}`];
  if (traceback) lines.push(indent(traceback.split("\n")));
  else if (logTail.length > 0) lines.push("  its last output:", indent(logTail.slice(-15)));
  return lines.join("\n");
}

const indent = (lines: readonly string[]) => lines.map((line) => `    ${line}`).join("\n");
