/** Milliseconds that the AWS SDK's chain gets to find credentials, all in all: a process that is asked for them, a login's refresh, the metadata of a machine. */
export const credentialsDeadline = 10_000;

/** Where the AWS SDK begins to look. What is absent is what its own chain finds. */
export interface AwsChain {
  readonly region?: string | undefined;
  readonly profile?: string | undefined;
}

export interface AwsFound {
  /** Null where there is none. */
  readonly region: string | null;
  /** Why there are no credentials; null where there are some. Whether AWS accepts them is not asked. */
  readonly noCredentials: string | null;
}

/**
 * Looks for region and credentials as the AWS SDK does, and so the provider of @pulumi/aws. AWS itself is not asked, but what the chain asks: a login's
 * service, a container's or a machine's metadata.
 */
export async function findAws({ region, profile }: AwsChain, deadline = credentialsDeadline): Promise<AwsFound> {
  // Any of the SDK's clients has the chain.
  const { EKS } = await import("@aws-sdk/client-eks");
  const client = new EKS({
    ...(region === undefined ? {} : { region }),
    ...(profile === undefined ? {} : { profile }),
  });
  try {
    const [foundRegion, noCredentials] = await Promise.all([
      client.config.region().then(
        (found) => found || null,
        () => null,
      ),
      within(deadline, client.config.credentials()).then(
        () => null,
        (error: Error) => firstLine(error),
      ),
    ]);
    return { region: foundRegion, noCredentials };
  } finally {
    client.destroy();
  }
}

async function within(deadline: number, found: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came of it within ${deadline / 1000} s`)), deadline);
  });
  try {
    await Promise.race([found, late]);
  } finally {
    clearTimeout(timer);
  }
}

const firstLine = ({ message }: Error) => message.split("\n", 1)[0] ?? "";
