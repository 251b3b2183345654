import { type AwsPlace, clientSettings, eksClients } from "./clients";

/** Where prices are asked, for all regions: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html */
const priceRegion = "us-east-1";

/** What of an entry of the price list is read. */
interface Product {
  readonly terms?: {
    readonly OnDemand?: Readonly<
      Record<
        string,
        {
          readonly priceDimensions?: Readonly<
            Record<string, { readonly unit?: string; readonly pricePerUnit?: { readonly USD?: string } }>
          >;
        }
      >
    >;
  };
}

/** Dollars an hour of a Linux machine on demand, where it is not shared out; null where the list does not have it. */
export async function priceOf(type: string, place: AwsPlace, signal: AbortSignal): Promise<number | null> {
  const { eks } = await eksClients(place);
  const region = await eks.config.region();
  const { Pricing } = await import("@aws-sdk/client-pricing");
  const client = new Pricing({ ...clientSettings({ ...place, region: priceRegion }), maxAttempts: 2 });
  const filters = {
    instanceType: type,
    regionCode: region,
    operatingSystem: "Linux",
    tenancy: "Shared",
    preInstalledSw: "NA",
    capacitystatus: "Used",
  };
  const { PriceList = [] } = await client.getProducts(
    {
      ServiceCode: "AmazonEC2",
      Filters: Object.entries(filters).map(([Field, Value]) => ({ Type: "TERM_MATCH", Field, Value })),
      MaxResults: 10,
    },
    { abortSignal: signal },
  );
  for (const entry of PriceList) {
    const { terms } = JSON.parse(String(entry)) as Product;
    for (const { priceDimensions } of Object.values(terms?.OnDemand ?? {})) {
      for (const { unit, pricePerUnit } of Object.values(priceDimensions ?? {})) {
        const dollars = Number(pricePerUnit?.USD);
        if (unit === "Hrs" && dollars > 0) return dollars;
      }
    }
  }
  return null;
}
