import { type InstanceType, instanceType, type Purchase, vcpuQuota } from "../aws";
import { type AwsPlace, clientSettings } from "./clients";
import { awsReason } from "./failure";
import { priceOf } from "./price";

/** Milliseconds that a preview spends on asking for prices and quotas. */
const patience = 10_000;

export interface RotationNeeds extends AwsPlace {
  readonly instanceTypes: readonly string[];
  readonly capacity: Purchase;
  /** Nodes that are to come, and those that stand until their instances have drained. */
  readonly coming: number;
  readonly standing: number;
  /** Of those that are to come, how many in any case: a quota has to have room for these. */
  readonly certain: number;
}

export interface RotationCost {
  /** What a person should know before it is done. */
  readonly text: string;
  /** What stands in the way of it, or null. */
  readonly problem: string | null;
  /** What could not be found out. */
  readonly notes: readonly string[];
}

/** What new nodes cost while the old ones stand, and whether the account's quota allows both. */
export async function rotationCost(needs: RotationNeeds): Promise<RotationCost> {
  const { instanceTypes, coming, standing, certain, capacity } = needs;
  const [first = ""] = instanceTypes;
  const type = instanceType(first);
  const [price, quota] = await Promise.all([hourly(needs, first), quotaOf(needs, first)]);
  const notes: string[] = [];
  if (price instanceof Error) notes.push(`prices cannot be asked: ${price.message}`);
  if (quota instanceof Error) notes.push(`quotas cannot be asked: ${quota.message}`);
  const cost = typeof price === "number" ? priceText(price * coming, capacity) : null;
  const size = type === undefined ? null : sizeText(type, coming);
  const text = [standingText(needs), size, cost].filter((part) => part !== null).join("; ");
  if (quota === null || quota instanceof Error || type === undefined) return { text, problem: null, notes };
  const needed = (certain + standing) * type.vcpus;
  if (needed <= quota.value) return { text, problem: null, notes };
  const why =
    standing === 0 ? `${certain} of ${first} need` : `${certain} of ${first} beside the ${standing} that stand need`;
  const problem = `${why} ${needed} vCPUs, and the account's quota ${quota.code} (${quota.name}) is ${quota.value}: have it raised in Service Quotas, or use fewer or smaller nodes`;
  return { text, problem, notes };
}

function standingText({ instanceTypes, coming, standing }: RotationNeeds): string {
  const nodes = `${coming} ${coming === 1 ? "node" : "nodes"} of ${instanceTypes.join(" or ")}`;
  if (standing === 0) return `${nodes} will be started`;
  return `${nodes} will be started beside the ${standing} that ${standing === 1 ? "serves" : "serve"}, and both stand until those have drained`;
}

function sizeText({ gpus, gpu, vcpus }: InstanceType, nodes: number): string {
  const total = nodes * gpus;
  return `${total} ${total === 1 ? "GPU" : "GPUs"} (${gpu}), ${nodes * vcpus} vCPUs`;
}

function priceText(dollars: number, capacity: Purchase): string | null {
  if (capacity === "capacityBlock") return "paid for in advance";
  const amount = `$${dollars.toFixed(2)} an hour`;
  return capacity === "spot" ? `${amount} at most, the on-demand price` : amount;
}

/** Dollars of one node; null where the list has none. */
async function hourly(place: RotationNeeds, type: string): Promise<number | null | Error> {
  if (place.capacity === "capacityBlock") return 0;
  try {
    return await priceOf(type, place, AbortSignal.timeout(patience));
  } catch (error) {
    return new Error(awsReason(error));
  }
}

/** Null where there is none for such machines. */
async function quotaOf(place: RotationNeeds, type: string) {
  const quota = vcpuQuota(type, place.capacity);
  if (quota === undefined) return null;
  try {
    const { ServiceQuotas } = await import("@aws-sdk/client-service-quotas");
    const client = new ServiceQuotas({ ...clientSettings(place), maxAttempts: 2 });
    const asked = { ServiceCode: "ec2", QuotaCode: quota.code };
    const { Quota } = await client.getServiceQuota(asked, { abortSignal: AbortSignal.timeout(patience) });
    return Quota?.Value === undefined ? null : { ...quota, value: Quota.Value };
  } catch (error) {
    return new Error(awsReason(error));
  }
}
