import { describe, expect, test } from "vitest";
import { gpuInstanceTypes, instanceType, unknownInstanceType, vcpuQuota } from "../../runtime/aws";

describe("the table of instance types", () => {
  test("tells what a machine has", () => {
    expect(instanceType("g6e.2xlarge")).toEqual({
      name: "g6e.2xlarge",
      family: "g6e",
      gpus: 1,
      gpu: "L40S",
      gpuMemoryGiB: 48,
      vcpus: 8,
      memoryGiB: 64,
      architecture: "x86_64",
      localStorageGB: 450,
    });
    expect(instanceType("g5g.16xlarge")).toMatchObject({ gpus: 2, architecture: "arm64", localStorageGB: 0 });
    expect(instanceType("p6-b200.48xlarge")).toMatchObject({ family: "p6-b200", gpus: 8, vcpus: 192 });
    expect(instanceType("m7i.xlarge")).toBeUndefined();
  });

  // AWS names sizes by it: `xlarge` is four vCPUs, `<n>xlarge` n times four.
  test("agrees with the sizes' names about the number of vCPUs", () => {
    const sized = gpuInstanceTypes.flatMap(({ name, vcpus }) => {
      const [, factor] = /\.(\d*)xlarge$/.exec(name) ?? [];
      return factor === undefined ? [] : [[name, vcpus, Number(factor || 1) * 4]];
    });
    expect(sized.length).toBeGreaterThan(40);
    expect(sized.filter(([, vcpus, named]) => vcpus !== named)).toEqual([]);
  });

  test("has machines with 1, 2, 4 or 8 GPUs, and at least 2 GiB of memory for each vCPU", () => {
    const odd = gpuInstanceTypes.filter(
      ({ gpus, vcpus, memoryGiB }) => ![1, 2, 4, 8].includes(gpus) || memoryGiB / vcpus < 2,
    );
    expect(odd).toEqual([]);
  });

  test("names what it has in place of what it has not", () => {
    expect(unknownInstanceType("g5.3xlarge")).toBe(
      '"g5.3xlarge" is no instance type with NVIDIA GPUs that is known here (sizes that are known: xlarge, 2xlarge, 4xlarge, 8xlarge, 12xlarge, 16xlarge, 24xlarge, 48xlarge): for another one, state ami.type and gpusPerNode',
    );
    expect(unknownInstanceType("g4ad.xlarge")).toContain("families with GPUs that are known: g4dn, g5, g5g, g6, gr6");
    expect(unknownInstanceType("large")).toContain("families with GPUs that are known: g4dn");
  });
});

describe("quotas of vCPUs", () => {
  test.each([
    ["g6e.2xlarge", "onDemand", "L-DB2E81BA"],
    ["gr6.4xlarge", "onDemand", "L-DB2E81BA"],
    ["g6e.2xlarge", "spot", "L-3819A6DF"],
    ["p4d.24xlarge", "onDemand", "L-417A185B"],
    ["p6-b200.48xlarge", "onDemand", "L-417A185B"],
    ["p3.2xlarge", "spot", "L-7212CCBC"],
    ["p4de.24xlarge", "spot", "L-7212CCBC"],
    ["p5en.48xlarge", "spot", "L-C4BD4855"],
    ["p6-b200.48xlarge", "spot", undefined],
    ["p5.48xlarge", "capacityBlock", undefined],
    ["m7i.xlarge", "onDemand", undefined],
  ] as const)("%s, %s: %s", (name, purchase, code) => {
    expect(vcpuQuota(name, purchase)?.code).toBe(code);
  });

  test("every type of the table has one on demand", () => {
    expect(gpuInstanceTypes.filter(({ name }) => vcpuQuota(name, "onDemand") === undefined)).toEqual([]);
  });
});
