import type { AutoScaling } from "@aws-sdk/client-auto-scaling";
import type { EKS } from "@aws-sdk/client-eks";

/** Where AWS is asked, and as whom. What is absent is what the AWS SDK finds by itself: variables, profiles, roles. */
export interface AwsPlace {
  readonly region?: string | undefined;
  readonly profile?: string | undefined;
}

export interface EksClients {
  readonly eks: EKS;
  readonly autoScaling: AutoScaling;
}

/**
 * How often a request is sent that is throttled, or gets no answer, with growing, random pauses in between:
 * https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
 */
const maxAttempts = 7;
/** Milliseconds to be connected, and for an answer. */
const timeouts = { connectionTimeout: 5_000, requestTimeout: 20_000 };

/** What every client of the AWS SDK is made with. */
export function clientSettings({ region, profile }: AwsPlace) {
  return {
    ...(region === undefined ? {} : { region }),
    ...(profile === undefined ? {} : { profile }),
    maxAttempts,
    retryMode: "standard",
    requestHandler: timeouts,
  };
}

/** Clients, which find their credentials when they are first asked. Loaded here: what runs elsewhere needs none of it. */
export async function eksClients(place: AwsPlace): Promise<EksClients> {
  const [{ EKS }, { AutoScaling }] = await Promise.all([
    import("@aws-sdk/client-eks"),
    import("@aws-sdk/client-auto-scaling"),
  ]);
  const settings = clientSettings(place);
  return { eks: new EKS(settings), autoScaling: new AutoScaling(settings) };
}
