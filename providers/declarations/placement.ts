import { z } from "zod";
import { durationSchema } from "../../runtime/units";
import { objectNameSchema } from "./pod";

/** What a release is told of where its pods run. */
export const releasePlacementSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("shared"), nodeGroup: z.string() }),
  z.object({
    kind: z.literal("perRelease"),
    cluster: z.string(),
    region: z.string().optional(),
    profile: z.string().optional(),
    machine: z.string(),
  }),
  z.object({ kind: z.literal("karpenter"), nodePool: z.string() }),
]);

const sharedSchema = z.strictObject({ kind: z.literal("shared"), nodeGroup: z.string().min(1, "names no node group") });
const karpenterSchema = z.strictObject({ kind: z.literal("karpenter"), nodePool: objectNameSchema });
const anywhereSchema = z.strictObject({ kind: z.literal("anywhere") });
const perReleaseSchema = z.looseObject({
  kind: z.literal("perRelease"),
  cluster: z.string().min(1, "names no cluster"),
  instanceTypes: z.array(z.string()).min(1, 'names no instance type, such as "g6e.2xlarge"'),
  timeout: durationSchema.prefault("20m"),
  instancesPerNode: z
    .int("is not a whole number of instances")
    .min(1, "is less than 1: leave it out for as many as have their GPUs there")
    .optional(),
});

/** A placement as it is declared. */
export const placementSchema = z.discriminatedUnion(
  "kind",
  [sharedSchema, perReleaseSchema, karpenterSchema, anywhereSchema],
  { error: "is no known placement: use shared(nodeGroup), perRelease({ … }), karpenter({ nodePool }) or anywhere()" },
);
