import { AwsError } from "./errors";

/** vCPUs of every family that the account may have at a time. */
const quota = 1000;
/** Dollars an hour of every machine. */
const price = "0.8048";

/** The parts of Service Quotas and of the price list that are asked, by the operation as `x-amz-target` names it. */
export function answerAccount(target: string, body: Readonly<Record<string, unknown>>): unknown {
  switch (target.split(".").at(-1)) {
    case "GetServiceQuota": {
      const { ServiceCode, QuotaCode } = body;
      return { Quota: { ServiceCode, QuotaCode, QuotaName: `Quota ${String(QuotaCode)}`, Value: quota } };
    }
    case "GetProducts": {
      const priceDimensions = { one: { unit: "Hrs", pricePerUnit: { USD: price } } };
      return {
        FormatVersion: "aws_v1",
        PriceList: [JSON.stringify({ terms: { OnDemand: { one: { priceDimensions } } } })],
      };
    }
    default:
      throw new AwsError(400, "UnknownOperationException", `the fake serves no ${target}`);
  }
}
