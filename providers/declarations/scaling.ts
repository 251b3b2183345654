import { z } from "zod";
import { type Cluster, orNull, reasonOf, statusOf } from "../../runtime/kubernetes";
import type { Problem } from "../../runtime/problems";
import { durationSchema } from "../../runtime/units";
import { objectNameSchema } from "./pod";

export const countSchema = z
  .int("is not a whole number of instances")
  .min(1, "is less than 1: a service needs an instance");

const targetSchema = z.number("is no number of prompts").positive("is not more than 0: a number of prompts").default(2);

const secretKeySchema = z.strictObject({
  secret: objectNameSchema,
  key: z
    .string()
    .regex(/^[-._a-zA-Z0-9]{1,253}$/, "is no key of a Secret")
    .default("key"),
});

const kedaSchema = z
  .strictObject({
    kind: z.literal("keda"),
    target: targetSchema,
    pollingInterval: durationSchema.prefault("15s"),
    apiKey: secretKeySchema.optional(),
    prometheus: z
      .strictObject({
        serverAddress: z.url({ protocol: /^https?$/, error: "is no URL of a Prometheus" }),
        bearerToken: secretKeySchema.optional(),
      })
      .optional(),
  })
  .refine(({ apiKey, prometheus }) => apiKey === undefined || prometheus === undefined, {
    path: ["apiKey"],
    error: "is for asking the gateway itself; what Prometheus wants to be shown is prometheus.bearerToken",
  });

const externalMetricSchema = z.strictObject({
  kind: z.literal("externalMetric"),
  name: z.string().regex(/^[A-Za-z_][A-Za-z0-9_.:-]{0,252}$/, {
    error: ({ input }) => `${JSON.stringify(input)} is no name of a metric, such as "comfyui_gateway_queue"`,
  }),
  target: targetSchema,
});

const rangeSchema = z
  .strictObject({
    kind: z.literal("range"),
    min: countSchema,
    max: countSchema,
    by: z.discriminatedUnion("kind", [kedaSchema, externalMetricSchema], {
      error: "is no known autoscaler: use keda() or externalMetric({ name })",
    }),
    scaleInAfter: durationSchema.prefault("5m").refine((milliseconds) => milliseconds <= 3_600_000, {
      error: "is more than an hour, the most that Kubernetes looks back",
    }),
  })
  .refine(({ min, max }) => max >= min, {
    path: ["max"],
    error: ({ input }) => {
      const { min, max } = Object(input);
      return `${max} is less than min, ${min}`;
    },
  });

export const scalingSchema = z.discriminatedUnion(
  "kind",
  [z.strictObject({ kind: z.literal("fixed"), count: countSchema }), rangeSchema],
  {
    error: "is no known scaling: use fixed(count) or range({ min, max, by })",
  },
);

export type ScalingDeclaration = z.output<typeof scalingSchema>;

/** What an autoscaler needs of a cluster: an API that something has to serve, and the Secrets that it is given. */
export async function autoscalerProblems(cluster: Cluster, declared: unknown): Promise<readonly Problem[]> {
  const parsed = scalingSchema.safeParse(declared);
  if (!parsed.success || parsed.data.kind === "fixed") return [];
  const { by } = parsed.data;
  const [group, missing] = {
    keda: ["keda.sh", "KEDA is not in the cluster"],
    externalMetric: ["external.metrics.k8s.io", "no adapter in the cluster serves external metrics"],
  }[by.kind] as [string, string];
  try {
    const { groups } = await cluster.apis.getAPIVersions();
    if (!groups.some(({ name }) => name === group)) {
      return [{ path: "scaling.by", reason: `${missing}: its API server has no group ${group}` }];
    }
    if (by.kind === "externalMetric") return [];
    return [
      ...(await secretProblems(cluster, "scaling.by.apiKey", by.apiKey)),
      ...(await secretProblems(cluster, "scaling.by.prometheus.bearerToken", by.prometheus?.bearerToken)),
    ];
  } catch (error) {
    return [{ path: "scaling.by", reason: `what the cluster serves cannot be looked at: ${reasonOf(error)}` }];
  }
}

async function secretProblems(
  { core, namespace }: Cluster,
  path: string,
  wanted: z.output<typeof secretKeySchema> | undefined,
): Promise<readonly Problem[]> {
  if (wanted === undefined) return [];
  const { secret: name, key } = wanted;
  try {
    const found = await orNull(core.readNamespacedSecret({ name, namespace }));
    if (found === null) return [{ path, reason: `the namespace ${namespace} has no Secret ${JSON.stringify(name)}` }];
    if (found.data?.[key] !== undefined) return [];
    return [{ path: `${path}.key`, reason: `the Secret ${JSON.stringify(name)} has no key ${JSON.stringify(key)}` }];
  } catch (error) {
    if (statusOf(error) === 403) return [];
    throw error;
  }
}
