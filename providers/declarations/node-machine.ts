import { z } from "zod";
import { type InstanceType, instanceType, unknownInstanceType } from "../../runtime/aws";
import type { Problem } from "../../runtime/problems";
import { isUnknown } from "../unknown";
import { bytesOf, labelKey, labelValue, quantitySchema } from "./pod";

const GiB = 2 ** 30;

const amiTypes = [
  "AL2023_x86_64_NVIDIA",
  "AL2023_ARM_64_NVIDIA",
  "BOTTLEROCKET_x86_64_NVIDIA",
  "BOTTLEROCKET_ARM_64_NVIDIA",
] as const;

/** https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html#gp3-ebs-volume-type: what is more is refused here, what an account or type of instance does not take by AWS. */
const gp3 = {
  sizeGiB: 65_536,
  iops: [3000, 80_000],
  throughput: [125, 2000],
  iopsPerGiB: 500,
  throughputPerIops: 0.25,
};
/** The root volume of the AMIs. https://docs.aws.amazon.com/eks/latest/userguide/create-managed-node-group.html */
const leastDiskGiB = 20;

const diskSchema = z.strictObject({
  size: quantitySchema
    .refine((text) => !(bytesOf(text) < leastDiskGiB * GiB), {
      error: ({ input }) => `${JSON.stringify(input)} is less than the ${leastDiskGiB}Gi of the AMI itself`,
    })
    .refine((text) => !(bytesOf(text) > gp3.sizeGiB * GiB), {
      error: ({ input }) => `${JSON.stringify(input)} is more than the ${gp3.sizeGiB}Gi of a gp3 volume`,
    })
    .optional(),
  kmsKeyId: z
    .string()
    .regex(/^arn:[^:]+:kms:/, "is no ARN of a KMS key")
    .optional(),
  iops: z
    .int("is not a whole number")
    .min(gp3.iops[0] ?? 0, "is less than the 3000 that a gp3 volume has anyway")
    .max(gp3.iops[1] ?? 0, "is more than the 80000 of a gp3 volume")
    .optional(),
  throughput: z
    .int("is not a whole number of MiB a second")
    .min(gp3.throughput[0] ?? 0, "is less than the 125 that a gp3 volume has anyway")
    .max(gp3.throughput[1] ?? 0, "is more than the 2000 of a gp3 volume")
    .optional(),
});

const taintSchema = z.strictObject({
  key: labelKey.refine((key) => key !== "nvidia.com/gpu", "is the taint that every node has anyway"),
  value: labelValue.optional(),
  effect: z.enum(
    ["NoSchedule", "PreferNoSchedule", "NoExecute"],
    'is none of "NoSchedule", "PreferNoSchedule", "NoExecute"',
  ),
});

/** What of nodes can be judged by itself. */
export const nodeMachineShape = {
  cluster: z.string("names no cluster").regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/, "is no name of an EKS cluster"),
  instanceTypes: z
    .array(z.string("is no instance type"), 'is no list of instance types, such as ["g6e.2xlarge"]')
    .min(1, 'names no instance type, such as "g6e.2xlarge"')
    .max(20, "names more than 20, the most that a node group takes"),
  capacity: z.enum(["onDemand", "spot", "capacityBlock"], 'is none of "onDemand", "spot", "capacityBlock"').optional(),
  capacityReservation: z
    .string()
    .regex(/^(cr-[0-9a-f]+|arn:[^:]+:resource-groups:.+)$/, {
      error: ({ input }) =>
        `${JSON.stringify(input)} is neither the id of a capacity reservation, such as "cr-0123456789abcdef0", nor the ARN of a resource group`,
    })
    .optional(),
  gpusPerNode: z
    .int("is not a whole number of GPUs")
    .min(1, "is less than 1")
    .max(16, "is more than a node has")
    .optional(),
  disk: diskSchema.optional(),
  ami: z
    .strictObject({
      type: z.enum(amiTypes, `is none of ${amiTypes.join(", ")}`).optional(),
      release: z.string().min(1, "is empty: leave it out for the newest").optional(),
    })
    .optional(),
  kubernetesVersion: z
    .string()
    .regex(/^1\.\d+$/, 'is no version of Kubernetes as EKS names them, such as "1.33"')
    .optional(),
  subnetIds: z
    .array(z.string().regex(/^subnet-[0-9a-f]+$/, "is no id of a subnet"))
    .min(1, "names no subnet: leave it out for the cluster's own")
    .optional(),
  role: z
    .string()
    .regex(/^arn:[^:]+:iam::\d{12}:role\/.+$/, "is no ARN of a role")
    .optional(),
  cniPolicy: z.boolean("is neither true nor false").optional(),
  labels: z
    .record(
      labelKey.refine((key) => !/^eks\.amazonaws\.com\//.test(key), "is a label that EKS sets"),
      labelValue,
    )
    .optional(),
  taints: z.array(taintSchema).max(49, "are more than a node group takes beside that of GPUs").optional(),
  tags: z
    .record(
      z
        .string()
        .min(1, "is no key of a tag")
        .max(128, "is longer than the 128 characters of a tag's key")
        .refine((key) => !/^aws:/i.test(key), 'begins with "aws:", which AWS keeps for itself'),
      z.string().max(256, "is longer than the 256 characters of a tag's value"),
    )
    .optional(),
  region: z
    .string()
    .regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'is no region, such as "eu-central-1"')
    .optional(),
} as const;

/** What of {@link nodeMachineShape} is looked at together; as declared, so that anything may be missing, wrong or known later. */
interface DeclaredMachine {
  readonly instanceTypes?: unknown;
  readonly capacity?: unknown;
  readonly capacityReservation?: unknown;
  readonly gpusPerNode?: unknown;
  readonly disk?: { readonly size?: unknown; readonly iops?: unknown; readonly throughput?: unknown };
  readonly ami?: { readonly type?: unknown };
  readonly role?: unknown;
  readonly cniPolicy?: unknown;
}

/** What does not go together in the nodes that are declared. Says nothing of what {@link nodeMachineShape} finds. */
export function machineConflicts(declared: object): readonly Problem[] {
  const machine = declared as DeclaredMachine;
  return [
    ...typeConflicts(machine),
    ...capacityConflicts(machine),
    ...diskConflicts(machine),
    ...roleConflicts(machine),
  ];
}

function typeConflicts({ instanceTypes, gpusPerNode, ami }: DeclaredMachine): readonly Problem[] {
  if (!Array.isArray(instanceTypes)) return [];
  const problems: Problem[] = [];
  const stated = gpusPerNode !== undefined && ami?.type !== undefined;
  const names = instanceTypes.map((name: unknown) => (typeof name === "string" && !isUnknown(name) ? name : undefined));
  for (const [index, name] of names.entries()) {
    if (name === undefined) continue;
    const path = `instanceTypes[${index}]`;
    if (names.indexOf(name) < index) problems.push({ path, reason: `${JSON.stringify(name)} is named twice` });
    if (instanceType(name) === undefined && !stated) problems.push({ path, reason: unknownInstanceType(name) });
  }
  const known = [...new Set(names)].flatMap((name) => instanceType(name ?? "") ?? []);
  const told = (tell: (type: InstanceType) => string | number) =>
    known.map((type) => `${type.name} has ${tell(type)}`).join(", ");
  if (new Set(known.map(({ architecture }) => architecture)).size > 1) {
    const reason = `are of several architectures, which no AMI is for: ${told(({ architecture }) => architecture)}`;
    problems.push({ path: "instanceTypes", reason });
  }
  if (new Set(known.map(({ gpus }) => gpus)).size > 1) {
    const reason = `differ in their GPUs, so that nobody could say how many instances a node takes: ${told(({ gpus }) => gpus)}`;
    problems.push({ path: "instanceTypes", reason });
  }
  const [first] = known;
  if (first === undefined) return problems;
  if (typeof gpusPerNode === "number" && gpusPerNode !== first.gpus) {
    const reason = `${gpusPerNode} is not what ${first.name} has, ${first.gpus}: leave it out for types that are known`;
    problems.push({ path: "gpusPerNode", reason });
  }
  const type = ami?.type;
  if (typeof type === "string" && !isUnknown(type) && type.includes("ARM_64") !== (first.architecture === "arm64")) {
    problems.push({
      path: "ami.type",
      reason: `${type} does not run on ${first.name}, which is ${first.architecture}`,
    });
  }
  return problems;
}

function capacityConflicts({ capacity, capacityReservation, instanceTypes }: DeclaredMachine): readonly Problem[] {
  const problems: Problem[] = [];
  if (capacity === "spot" && capacityReservation !== undefined) {
    const reason = 'reserves on-demand capacity, which "spot" does not use';
    problems.push({ path: "capacityReservation", reason });
  }
  if (capacity !== "capacityBlock") return problems;
  if (capacityReservation === undefined) {
    problems.push({ path: "capacityReservation", reason: "is missing: name the capacity block" });
  }
  if (Array.isArray(instanceTypes) && instanceTypes.length > 1) {
    problems.push({ path: "instanceTypes", reason: "are several, and a capacity block is of one type" });
  }
  return problems;
}

function diskConflicts({ disk }: DeclaredMachine): readonly Problem[] {
  const { size = "100Gi", iops = 3000, throughput } = disk ?? {};
  const problems: Problem[] = [];
  if (typeof iops !== "number") return problems;
  const most = typeof size === "string" ? (bytesOf(size) / GiB) * gp3.iopsPerGiB : Number.NaN;
  if (iops > Math.max(most, gp3.iops[0] ?? 0)) {
    const reason = `${iops} is more than the ${gp3.iopsPerGiB} for each GiB that a gp3 volume may have, ${Math.floor(most)}`;
    problems.push({ path: "disk.iops", reason });
  }
  if (typeof throughput === "number" && throughput > iops * gp3.throughputPerIops) {
    const reason = `${throughput} needs disk.iops of ${Math.ceil(throughput / gp3.throughputPerIops)} or more`;
    problems.push({ path: "disk.throughput", reason });
  }
  return problems;
}

function roleConflicts({ role, cniPolicy }: DeclaredMachine): readonly Problem[] {
  if (role === undefined || cniPolicy !== true) return [];
  return [{ path: "cniPolicy", reason: "is for the role that is made where none is given: give it to that role" }];
}
