import { z } from "zod";
import type { PodSettings } from "../../runtime/deployment";

/** The image that agents and gateways run in when none is named. */
export const defaultAgentImage = "docker.io/library/node:24-slim";

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ */
const quantityPattern = /^\+?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?\d+)?$/;

export const quantitySchema = z.string().regex(quantityPattern, {
  error: ({ input }) =>
    `${JSON.stringify(input)} is no quantity as Kubernetes writes it, such as "500m", "2" or "16Gi"`,
});

/** What the suffixes of quantities multiply by. */
const factors: Readonly<Record<string, number>> = {
  ...Object.fromEntries(["K", "M", "G", "T", "P", "E"].map((prefix, index) => [`${prefix}i`, 2 ** (10 * (index + 1))])),
  ...Object.fromEntries(["k", "M", "G", "T", "P", "E"].map((prefix, index) => [prefix, 10 ** (3 * (index + 1))])),
  ...{ n: 1e-9, u: 1e-6, m: 1e-3 },
};

/** The number that a quantity stands for; NaN where it is none. */
function quantityOf(quantity: string): number {
  const [, amount = "NaN", suffix = ""] = /^\+?([\d.]+)(.*)$/.exec(quantity) ?? [];
  if (/^[eE][-+]?\d/.test(suffix)) return Number(amount + suffix);
  return Number(amount) * (suffix === "" ? 1 : (factors[suffix] ?? Number.NaN));
}

/** A quantity of bytes as a number. */
export function bytesOf(quantity: string): number {
  return Math.floor(quantityOf(quantity));
}

/** Below this no environment has room: a quantity without a unit counts bytes. */
const leastStorage = "100Mi";
const storageSchema = quantitySchema.refine((text) => !(bytesOf(text) < bytesOf(leastStorage)), {
  error: ({ input }) =>
    `${JSON.stringify(input)} is less than ${leastStorage}, which has room for no environment: give a unit, as in "50Gi"`,
});

export const labelValue = z.string().regex(/^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/, {
  error: ({ input }) => `${JSON.stringify(input)} is no value of a label: up to 63 letters, digits, ".", "_" and "-"`,
});

/** A prefix that is a DNS name, a slash, and a name. */
const qualifiedName = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
export const labelKey = z.string().regex(qualifiedName, {
  error: ({ input }) =>
    `${JSON.stringify(input)} is no key of a label: up to 63 letters, digits, ".", "_" and "-", after a DNS name and a slash or alone`,
});

export const objectNameSchema = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, {
  error: ({ input }) =>
    `${JSON.stringify(input)} is no name of an object in Kubernetes: lower-case letters, digits, "-" and "."`,
});

export const namespaceSchema = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, {
  error: ({ input }) =>
    `${JSON.stringify(input)} is no name of a namespace: up to 63 lower-case letters, digits and inner hyphens`,
});

const tolerationSchema = z
  .strictObject({
    key: labelKey.exactOptional(),
    operator: z.enum(["Exists", "Equal"], 'is neither "Exists" nor "Equal"').exactOptional(),
    value: labelValue.exactOptional(),
    effect: z
      .enum(["NoSchedule", "PreferNoSchedule", "NoExecute"], 'is none of "NoSchedule", "PreferNoSchedule", "NoExecute"')
      .exactOptional(),
    tolerationSeconds: z.int().exactOptional(),
  })
  // https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#scheduling
  .superRefine(({ key, operator = "Equal", value, effect, tolerationSeconds }, context) => {
    const issue = (property: string, message: string) =>
      context.addIssue({ code: "custom", path: [property], message });
    if (key === undefined && operator !== "Exists")
      issue("key", 'is missing: only operator "Exists" tolerates all keys');
    if (operator === "Exists" && value !== undefined) issue("value", 'is of no use with operator "Exists"');
    if (tolerationSeconds !== undefined && effect !== "NoExecute") {
      issue("tolerationSeconds", 'goes with effect "NoExecute" only');
    }
  });

/** https://pkg.go.dev/github.com/distribution/reference: host, path in lower case, tag, digest. */
const imagePattern =
  /^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d+)?\/|\[[0-9A-Fa-f:]+\](:\d+)?\/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(\/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?$/;

const imageSchema = z.string("names no image").regex(imagePattern, {
  error: ({ input }) =>
    `${JSON.stringify(input)} is no name of an image, such as "registry.example.org/comfyui-base:cu124"`,
});

/** Extended resources have a prefix: `nvidia.com/gpu`. */
const gpuResourceSchema = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/, {
    error: ({ input }) =>
      `${JSON.stringify(input)} is no name of an extended resource, such as "nvidia.com/gpu" or "amd.com/gpu"`,
  });

const resourceKey = z.string().regex(qualifiedName, {
  error: ({ input }) => `${JSON.stringify(input)} is no name of a resource, such as "cpu" or "memory"`,
});

const resourcesSchema = z
  .strictObject({
    requests: z.record(resourceKey, quantitySchema).default({}),
    limits: z.record(resourceKey, quantitySchema).default({}),
  })
  .superRefine(({ requests, limits }, context) => {
    const issue = (list: string, name: string, message: string) =>
      context.addIssue({ code: "custom", path: [list, name], message });
    for (const [list, quantities] of Object.entries({ requests, limits })) {
      for (const name of Object.keys(quantities)) {
        if (name === "ephemeral-storage") issue(list, name, 'is what "storage" sets');
        if (/\/(gpu|mig-)/.test(name)) issue(list, name, 'is what "gpus" and "gpuResource" set');
      }
    }
    for (const [name, quantity] of Object.entries(requests)) {
      const limit = limits[name];
      if (limit === undefined || !(quantityOf(quantity) > quantityOf(limit))) continue;
      issue("requests", name, `${JSON.stringify(quantity)} is more than the limit of ${JSON.stringify(limit)}`);
    }
  });

/** What a node is made of: kubelet and containers would not expect the folder of another user there. */
const nodesOwn = [
  "/bin",
  "/boot",
  "/dev",
  "/etc",
  "/lib",
  "/lib64",
  "/proc",
  "/run",
  "/sbin",
  "/sys",
  "/usr",
  "/var/run",
];
const kubeletsOwn = [
  "/var/lib/kubelet",
  "/var/lib/containerd",
  "/var/lib/docker",
  "/var/lib/containers",
  "/var/lib/etcd",
];

const nodePathSchema = z
  .string()
  .regex(/^(\/[^/\0]+)+$/, {
    error: ({ input }) =>
      `${JSON.stringify(input)} is no absolute path of a folder on the nodes, such as "/var/lib/comfyui-restores"`,
  })
  .refine((path) => !path.split("/").some((name) => name === "." || name === ".."), {
    error: ({ input }) => `${JSON.stringify(input)} leads through "." or "..", which Kubernetes refuses`,
  })
  .refine((path) => ![...nodesOwn, ...kubeletsOwn].some((own) => path === own || path.startsWith(`${own}/`)), {
    error: ({ input }) =>
      `${JSON.stringify(input)} is in a folder that the node itself, its kubelet or its containers use: name one of its own, such as "/var/lib/comfyui-restores"`,
  });

/** Every property may be left out: a service's pod takes the platform's. */
export const podSchema = z.strictObject({
  image: imageSchema.optional(),
  agentImage: imageSchema.optional(),
  gpus: z.int("is not a whole number of GPUs").min(0, "is less than 0").max(64, "is more than a node has").optional(),
  gpuResource: gpuResourceSchema.optional(),
  resources: resourcesSchema.optional(),
  nodeSelector: z.record(labelKey, labelValue).optional(),
  tolerations: z.array(tolerationSchema).optional(),
  storage: storageSchema.optional(),
  nodeCache: z
    .strictObject({
      path: nodePathSchema,
      keep: z
        .int("is not a whole number of restores")
        .min(1, "is less than 1: leave nodeCache out where nothing is to be kept")
        .max(100, "is more than 100 restores, each as large as an environment")
        .default(2),
    })
    .optional(),
  models: z
    .strictObject({
      claim: objectNameSchema,
      folder: z
        .string()
        .regex(/^[^/]/, "is not a path inside the claim")
        .refine((path) => !path.split("/").includes(".."), 'leads outside of the claim: use a path without ".."')
        .default("."),
    })
    .optional(),
  serviceAccount: objectNameSchema.optional(),
  storeCredentials: objectNameSchema.optional(),
  imagePullSecrets: z.array(objectNameSchema).optional(),
  priorityClass: objectNameSchema.optional(),
  runtimeClass: objectNameSchema.optional(),
  user: z.int().min(1, "is root, which a pod of strangers' plugins must not be").max(4_294_967_294).optional(),
});

export type PodArguments = z.output<typeof podSchema>;

/** How a pod is made: what a service says, else what its platform says, else the defaults. `image` has none. */
export function podSettings(platform: PodArguments, own: PodArguments): PodSettings {
  const { image, ...pod } = { ...platform, ...withoutUndefined(own) };
  if (image === undefined) throw new Error("pod.image names no image for ComfyUI's container");
  return {
    image,
    agentImage: pod.agentImage ?? defaultAgentImage,
    gpu: { resource: pod.gpuResource ?? "nvidia.com/gpu", count: pod.gpus ?? 1 },
    resources: pod.resources ?? { requests: {}, limits: {} },
    nodeSelector: pod.nodeSelector ?? {},
    tolerations: pod.tolerations ?? [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
    storage: pod.storage ?? "50Gi",
    nodeCache: pod.nodeCache ?? null,
    models: pod.models ?? null,
    serviceAccount: pod.serviceAccount ?? null,
    storeCredentials: pod.storeCredentials ?? null,
    imagePullSecrets: pod.imagePullSecrets ?? [],
    priorityClass: pod.priorityClass ?? null,
    runtimeClass: pod.runtimeClass ?? null,
    user: pod.user ?? 1000,
  };
}

function withoutUndefined<T extends object>(value: T): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as Partial<T>;
}

/**
 * How a workstation's pod is made. Arguments that are wrong give a placeholder: the check reports them before anything is made of it.
 */
export function workstationPod(platform: unknown, own: unknown): PodSettings {
  const [ofPlatform, ofWorkstation] = [podSchema.safeParse(platform ?? {}), podSchema.safeParse(own ?? {})];
  const settings = { ...ofPlatform.data, ...withoutUndefined(ofWorkstation.data ?? {}) };
  // Its environment is on a claim.
  return { ...podSettings({ image: "none", ...settings }, {}), nodeCache: null };
}
