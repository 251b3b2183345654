/** A quota of an account and region: vCPUs of running instances. */
export interface VcpuQuota {
  /** In Service Quotas, of the service `ec2`. */
  readonly code: string;
  readonly name: string;
}

export type Purchase = "onDemand" | "spot" | "capacityBlock";

/**
 * https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html. Which quota spot instances of p6 count against is not documented there, and
 * capacity blocks are bought apart.
 */
const quotas: readonly {
  readonly purchase: Purchase;
  readonly families: RegExp;
  readonly quota: VcpuQuota;
}[] = [
  {
    purchase: "onDemand",
    families: /^gr?\d/,
    quota: { code: "L-DB2E81BA", name: "Running On-Demand G and VT instances" },
  },
  { purchase: "spot", families: /^gr?\d/, quota: { code: "L-3819A6DF", name: "All G and VT Spot Instance Requests" } },
  { purchase: "onDemand", families: /^p\d/, quota: { code: "L-417A185B", name: "Running On-Demand P instances" } },
  {
    purchase: "spot",
    families: /^p[234]/,
    quota: { code: "L-7212CCBC", name: "All P4, P3 and P2 Spot Instance Requests" },
  },
  { purchase: "spot", families: /^p5/, quota: { code: "L-C4BD4855", name: "All P5 Spot Instance Requests" } },
];

/** The quota that instances of a type count against; undefined where there is none, or none is known. */
export function vcpuQuota(instanceType: string, purchase: Purchase): VcpuQuota | undefined {
  return quotas.find((each) => each.purchase === purchase && each.families.test(instanceType))?.quota;
}
