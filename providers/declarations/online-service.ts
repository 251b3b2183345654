import { existsSync, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import type { Problem } from "../../runtime/problems";
import { parseReference, readHead } from "../../runtime/snapshot";
import { isS3Location } from "../../runtime/store";
import { readServiceRecords } from "../../runtime/supervisor";
import { durationSchema, sizeSchema } from "../../runtime/units";
import { isUnknown } from "../unknown";
import {
  argumentsSchema,
  type Declaration,
  describeOwner,
  environmentVariablesSchema,
  lookAtPlatform,
  platformSchema,
  portProblems,
  portSchema,
  type Surroundings,
  sameOwner,
} from "./common";
import { cidrSchema, entranceProblems, entranceSchema, loadBalancerProblems } from "./entrance";
import { entranceClusterProblems } from "./entrance-cluster";
import { ownerProblems } from "./kubernetes";
import { nodePoolProblems, placementProblems, placementSchema } from "./placement";
import { objectNameSchema, podSchema } from "./pod";
import { autoscalerProblems, scalingSchema } from "./scaling";
import { type StoreAccess, storeAccessSchema, storeSettings } from "./store";

/** ComfyUI's API format: node id → class and inputs. */
export const workflowSchema = z.record(
  z.string(),
  z.looseObject({ class_type: z.string(), inputs: z.record(z.string(), z.unknown()) }),
);

export const healthSchema = z.strictObject({
  timeout: durationSchema.prefault("10m"),
  startTimeout: durationSchema.prefault("5m"),
  stableFor: durationSchema.prefault("5s"),
  smoke: z
    .union([z.string(), workflowSchema], "is neither the path of a workflow in API format nor such a workflow")
    .optional(),
  smokeTimeout: durationSchema.prefault("5m"),
  acceptFailing: z.array(z.string()).default([]),
});

export const drainSchema = z.strictObject({
  deadline: durationSchema.prefault("30m"),
  onDeadline: z.enum(["keep", "stop"], 'is neither "keep" nor "stop"').default("keep"),
});

const annotationsSchema = z.record(z.string(), z.string());

/** The Service in front of the gateway's pods. */
export const gatewayServiceSchema = z.strictObject({
  type: z
    .enum(["ClusterIP", "NodePort", "LoadBalancer"], 'is none of "ClusterIP", "NodePort", "LoadBalancer"')
    .default("ClusterIP"),
  annotations: annotationsSchema.default({}),
  loadBalancerSourceRanges: z.array(cidrSchema).min(1, "lets nobody in").optional(),
  allowPublicWithoutAuthentication: z.boolean().default(false),
});

export const ingressSchema = z.strictObject({
  host: z.string().regex(/^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, {
    error: ({ input }) => `${JSON.stringify(input)} is no host name`,
  }),
  className: objectNameSchema.optional(),
  /** Secret with the certificate; without one, the controller's own. */
  tlsSecret: objectNameSchema.optional(),
  annotations: annotationsSchema.default({}),
});

export const gatewaySchema = z.strictObject({
  port: portSchema.optional(),
  /** Keys are secret: whether there are some is all that is looked at here. */
  apiKeys: z.unknown().optional(),
  maximumBodySize: sizeSchema.prefault("100 MiB"),
  resultRetention: durationSchema.prefault("1h"),
  maximumSpoolSize: sizeSchema.prefault("10 GiB"),
  service: gatewayServiceSchema.optional(),
  ingress: ingressSchema.optional(),
  entrance: entranceSchema.optional(),
});

export const referenceSchema = z.string().superRefine((text, context) => {
  try {
    parseReference(text);
  } catch (error) {
    context.addIssue((error as Error).message);
  }
});

export const onlineServiceSchema = z.strictObject({
  platform: platformSchema,
  snapshot: referenceSchema,
  store: storeAccessSchema.optional(),
  scaling: scalingSchema,
  pod: podSchema.optional(),
  placement: placementSchema.optional(),
  models: z.string().min(1).optional(),
  arguments: argumentsSchema.default([]),
  environmentVariables: environmentVariablesSchema.default({}),
  health: healthSchema.prefault({}),
  drain: drainSchema.prefault({}),
  gateway: gatewaySchema.prefault({}),
  takeover: z.boolean().default(false),
});

/** Reads a smoke workflow; throws with what is wrong with it. */
export function readWorkflow(smoke: string | z.infer<typeof workflowSchema>): z.infer<typeof workflowSchema> {
  if (typeof smoke !== "string") return smoke;
  const path = resolve(smoke);
  if (!existsSync(path)) throw new Error(`${path} does not exist`);
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`${path} is not JSON: ${(error as Error).message}`);
  }
  const parsed = workflowSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  throw new Error(
    `${path} is not a workflow in API format (in ComfyUI: Workflow → Export (API)); every node needs class_type and inputs`,
  );
}

/** What can only be found out by looking: files, ports, claims, the pinned snapshot. */
export async function lookAtOnlineService(
  declaration: Declaration,
  surroundings: Surroundings,
): Promise<readonly Problem[]> {
  const given = declaration.arguments as z.input<typeof onlineServiceSchema>;
  const platform = await lookAtPlatform(declaration, surroundings, readServiceRecords);
  const { record, cluster } = platform;
  const problems: Problem[] = [...platform.problems];
  const here = given.platform?.kind !== "kubernetes";
  if (cluster !== null) {
    problems.push(...(await ownerProblems(cluster, declaration.name, surroundings.owner, given.takeover === true)));
    problems.push(...(await autoscalerProblems(cluster, given.scaling)));
    problems.push(...(await nodePoolProblems(cluster, given.placement)));
    problems.push(...(await entranceClusterProblems(cluster, declaration.name, given.gateway?.entrance)));
  }
  if (!here)
    problems.push(...placementProblems(given.placement, { ...Object(given.platform).pod, ...Object(given.pod) }));
  problems.push(...platformArgumentProblems(given, here));
  if (record && !sameOwner(record.claim.owner, surroundings.owner) && given.takeover !== true) {
    const { owner, since } = record.claim;
    problems.push({
      path: "name",
      reason: `service ${declaration.name} on this platform is owned by ${describeOwner(owner)} since ${since}; choose another name, or take it over with takeover: true`,
    });
  }
  if (here) problems.push(...(await portProblems("gateway.port", given.gateway?.port, record?.gateway?.port)));
  if (here && typeof given.models === "string" && !isUnknown(given.models) && !isFolder(given.models)) {
    problems.push({ path: "models", reason: `${resolve(given.models)} is no folder` });
  }
  if (typeof given.health?.smoke === "string" && !isUnknown(given.health.smoke)) {
    try {
      readWorkflow(given.health.smoke);
    } catch (error) {
      problems.push({ path: "health.smoke", reason: (error as Error).message });
    }
  }
  if (
    typeof given.snapshot === "string" &&
    referenceSchema.safeParse(given.snapshot).success &&
    !isUnknown(given.snapshot)
  ) {
    const access = storeAccessSchema.safeParse(given.store ?? {});
    if (access.success) problems.push(...(await pinProblems(given.snapshot, access.data, { here })));
  }
  return problems;
}

/** Arguments that one kind of platform has and the other has not. */
function platformArgumentProblems(given: z.input<typeof onlineServiceSchema>, here: boolean): readonly Problem[] {
  const { pod, placement, models, gateway, scaling } = given;
  const onlyInCluster = (path: string) => ({ path, reason: "is for a service on kubernetes({ … })" });
  if (here) {
    return [
      ...(Object(scaling).kind === "range"
        ? [{ path: "scaling", reason: "range({ … }) is for a service on kubernetes({ … }): use fixed(count)" }]
        : []),
      ...(pod === undefined ? [] : [onlyInCluster("pod")]),
      ...(placement === undefined ? [] : [onlyInCluster("placement")]),
      ...(gateway?.ingress === undefined ? [] : [onlyInCluster("gateway.ingress")]),
      ...(gateway?.service === undefined ? [] : [onlyInCluster("gateway.service")]),
      ...(gateway?.entrance === undefined ? [] : [onlyInCluster("gateway.entrance")]),
    ];
  }
  const open = [...entranceProblems(gateway), ...loadBalancerProblems(gateway)];
  if (models === undefined) return open;
  const reason = "is a folder of this machine, which pods do not reach: use pod.models, a claim";
  return [...open, { path: "models", reason }];
}

/**
 * A pinned snapshot has to be in its store, be what its digest says, and find its interpreter on this machine, if that is where its instances are;
 * instances elsewhere need a store that they reach.
 */
export async function pinProblems(
  reference: string,
  access: StoreAccess | undefined,
  instances: { readonly here: boolean },
): Promise<readonly Problem[]> {
  const problem = (reason: string) => [{ path: "snapshot", reason }];
  try {
    if (!instances.here && !isS3Location(parseReference(reference).store)) {
      return problem(`${reference} is in a folder of this machine, which pods do not reach: use a store in S3`);
    }
    const { interpreter, summary } = await readHead(reference, storeSettings(access));
    if (!instances.here || existsSync(interpreter)) return [];
    return problem(`the snapshot's Python ${summary.python} is not on this machine: ${interpreter} is missing`);
  } catch (error) {
    return problem((error as Error).message);
  }
}

function isFolder(path: string): boolean {
  return statSync(resolve(path), { throwIfNoEntry: false })?.isDirectory() ?? false;
}
