export type Architecture = "x86_64" | "arm64";

/** A type of EC2 instance with NVIDIA GPUs. */
export interface InstanceType {
  readonly name: string;
  readonly family: string;
  readonly gpus: number;
  /** Model of each GPU. */
  readonly gpu: string;
  /** Memory of each GPU, as AWS states it. */
  readonly gpuMemoryGiB: number;
  readonly vcpus: number;
  readonly memoryGiB: number;
  readonly architecture: Architecture;
  /** NVMe disks of the machine itself, in GB (powers of 1000); 0 for none, null where this table does not know. */
  readonly localStorageGB: number | null;
}

/** GPUs, vCPUs, memory in GiB, local NVMe in GB. */
type Sizes = Readonly<Record<string, readonly [number, number, number, number | null]>>;

interface Family {
  readonly gpu: string;
  readonly gpuMemoryGiB: number;
  readonly architecture: Architecture;
  readonly sizes: Sizes;
}

/**
 * Types whose GPUs are whole ones and that EKS has an NVIDIA AMI for: those of fractions of a GPU (g6f, gr6f) and of several machines together (p6e) are
 * left out.
 *
 * https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html (GPUs, memory, architecture, storage),
 * https://docs.aws.amazon.com/batch/latest/userguide/gpu-jobs.html (g4dn to g6, p3 to p5),
 * https://docs.aws.amazon.com/eks/latest/userguide/ml-eks-optimized-ami.html (families that the AMIs support).
 */
const families: Readonly<Record<string, Family>> = {
  g4dn: {
    gpu: "T4",
    gpuMemoryGiB: 16,
    architecture: "x86_64",
    sizes: {
      xlarge: [1, 4, 16, 125],
      "2xlarge": [1, 8, 32, 225],
      "4xlarge": [1, 16, 64, 225],
      "8xlarge": [1, 32, 128, 900],
      "12xlarge": [4, 48, 192, 900],
      "16xlarge": [1, 64, 256, 900],
      metal: [8, 96, 384, 1800],
    },
  },
  g5: {
    gpu: "A10G",
    gpuMemoryGiB: 24,
    architecture: "x86_64",
    sizes: {
      xlarge: [1, 4, 16, 250],
      "2xlarge": [1, 8, 32, 450],
      "4xlarge": [1, 16, 64, 600],
      "8xlarge": [1, 32, 128, 900],
      "12xlarge": [4, 48, 192, 3800],
      "16xlarge": [1, 64, 256, 1900],
      "24xlarge": [4, 96, 384, 3800],
      "48xlarge": [8, 192, 768, 7600],
    },
  },
  g5g: {
    gpu: "T4G",
    gpuMemoryGiB: 16,
    architecture: "arm64",
    sizes: {
      xlarge: [1, 4, 8, 0],
      "2xlarge": [1, 8, 16, 0],
      "4xlarge": [1, 16, 32, 0],
      "8xlarge": [1, 32, 64, 0],
      "16xlarge": [2, 64, 128, 0],
      metal: [2, 64, 128, 0],
    },
  },
  g6: {
    gpu: "L4",
    gpuMemoryGiB: 24,
    architecture: "x86_64",
    sizes: {
      xlarge: [1, 4, 16, 250],
      "2xlarge": [1, 8, 32, 450],
      "4xlarge": [1, 16, 64, 600],
      "8xlarge": [1, 32, 128, 900],
      "12xlarge": [4, 48, 192, 3760],
      "16xlarge": [1, 64, 256, 1880],
      "24xlarge": [4, 96, 384, 3760],
      "48xlarge": [8, 192, 768, 7520],
    },
  },
  gr6: {
    gpu: "L4",
    gpuMemoryGiB: 24,
    architecture: "x86_64",
    sizes: { "4xlarge": [1, 16, 128, 600], "8xlarge": [1, 32, 256, 900] },
  },
  g6e: {
    gpu: "L40S",
    gpuMemoryGiB: 48,
    architecture: "x86_64",
    sizes: {
      xlarge: [1, 4, 32, 250],
      "2xlarge": [1, 8, 64, 450],
      "4xlarge": [1, 16, 128, 600],
      "8xlarge": [1, 32, 256, 900],
      "12xlarge": [4, 48, 384, 3800],
      "16xlarge": [1, 64, 512, 1900],
      "24xlarge": [4, 96, 768, 3800],
      "48xlarge": [8, 192, 1536, 7600],
    },
  },
  g7e: {
    gpu: "RTX PRO 6000",
    gpuMemoryGiB: 96,
    architecture: "x86_64",
    sizes: {
      "2xlarge": [1, 8, 64, null],
      "4xlarge": [1, 16, 128, null],
      "8xlarge": [1, 32, 256, null],
      "12xlarge": [2, 48, 512, null],
      "24xlarge": [4, 96, 1024, null],
      "48xlarge": [8, 192, 2048, null],
    },
  },
  p3: {
    gpu: "V100",
    gpuMemoryGiB: 16,
    architecture: "x86_64",
    sizes: { "2xlarge": [1, 8, 61, 0], "8xlarge": [4, 32, 244, 0], "16xlarge": [8, 64, 488, 0] },
  },
  p3dn: { gpu: "V100", gpuMemoryGiB: 32, architecture: "x86_64", sizes: { "24xlarge": [8, 96, 768, 1800] } },
  p4d: { gpu: "A100", gpuMemoryGiB: 40, architecture: "x86_64", sizes: { "24xlarge": [8, 96, 1152, 8000] } },
  p4de: { gpu: "A100", gpuMemoryGiB: 80, architecture: "x86_64", sizes: { "24xlarge": [8, 96, 1152, 8000] } },
  p5: {
    gpu: "H100",
    gpuMemoryGiB: 80,
    architecture: "x86_64",
    sizes: { "4xlarge": [1, 16, 256, 3800], "48xlarge": [8, 192, 2048, 30_400] },
  },
  p5e: { gpu: "H200", gpuMemoryGiB: 141, architecture: "x86_64", sizes: { "48xlarge": [8, 192, 2048, 30_400] } },
  p5en: { gpu: "H200", gpuMemoryGiB: 141, architecture: "x86_64", sizes: { "48xlarge": [8, 192, 2048, 30_400] } },
  "p6-b200": { gpu: "B200", gpuMemoryGiB: 179, architecture: "x86_64", sizes: { "48xlarge": [8, 192, 2048, null] } },
};

const types: ReadonlyMap<string, InstanceType> = new Map(
  Object.entries(families).flatMap(([family, { sizes, ...gpu }]) =>
    Object.entries(sizes).map(([size, [gpus, vcpus, memoryGiB, localStorageGB]]): [string, InstanceType] => {
      const name = `${family}.${size}`;
      return [name, { name, family, gpus, ...gpu, vcpus, memoryGiB, localStorageGB }];
    }),
  ),
);

/** Every type that the table has. */
export const gpuInstanceTypes: readonly InstanceType[] = [...types.values()];

/** What is known of a type; undefined where the table does not have it. */
export function instanceType(name: string): InstanceType | undefined {
  return types.get(name);
}

/** What is wrong with a type that the table does not have: its name, or that its family or size is new. */
export function unknownInstanceType(name: string): string {
  const known = families[name.slice(0, Math.max(0, name.lastIndexOf(".")))];
  const choice =
    known === undefined
      ? `families with GPUs that are known: ${Object.keys(families).join(", ")}`
      : `sizes that are known: ${Object.keys(known.sizes).join(", ")}`;
  return `${JSON.stringify(name)} is no instance type with NVIDIA GPUs that is known here (${choice}): for another one, state ami.type and gpusPerNode`;
}
