/** A type of EC2 instance with NVIDIA GPUs. */
export interface InstanceType {
  readonly name: string;
  readonly family: string;
  readonly gpus: number;
  /** Model of each GPU. */
  readonly gpu: string;
  /** Memory of each GPU. */
  readonly gpuMemoryGiB: number;
  readonly vcpus: number;
  readonly memoryGiB: number;
  readonly architecture: Architecture;
  /** NVMe disks of the machine itself, in GB (powers of 1000); 0 for none. */
  readonly localStorageGB: number;
}

export type Architecture = "x86_64" | "arm64";

interface Family {
  readonly gpu: string;
  readonly gpuMemoryGiB: number;
  readonly architecture: Architecture;
  /** Size: GPUs, vCPUs, memory in GiB, local NVMe in GB. */
  readonly sizes: Readonly<Record<string, readonly [number, number, number, number]>>;
}

const families: Readonly<Record<string, Family>> = {
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
};

const types: ReadonlyMap<string, InstanceType> = new Map(
  Object.entries(families).flatMap(([family, { sizes, ...gpu }]) =>
    Object.entries(sizes).map(([size, [gpus, vcpus, memoryGiB, localStorageGB]]): [string, InstanceType] => {
      const name = `${family}.${size}`;
      return [name, { name, family, gpus, ...gpu, vcpus, memoryGiB, localStorageGB }];
    }),
  ),
);

export const gpuFamilies: readonly string[] = Object.keys(families);

/** What is known of a type; undefined where the table does not have it. */
export function instanceType(name: string): InstanceType | undefined {
  return types.get(name);
}
