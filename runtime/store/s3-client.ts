import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { S3, S3ClientConfig } from "@aws-sdk/client-s3";
import type { CompleteSettings } from "./store-settings";

/** A client and how many there were before it. */
export interface S3Session {
  readonly s3: S3;
  readonly generation: number;
}

/** Region where a server other than AWS is asked, which mostly has none, and nobody named one. */
const regionOfNone = "us-east-1";
/** Milliseconds after which a connection that nobody uses is closed. */
const idleConnection = 30_000;

/** Makes clients of the AWS SDK, loading it with the first, and makes another one when credentials are to be found anew. */
export class S3Sessions {
  readonly #settings: CompleteSettings;
  readonly #agents: { readonly httpAgent: HttpAgent; readonly httpsAgent: HttpsAgent };
  #current: Promise<S3Session> | undefined;
  #generation = 0;

  constructor(settings: CompleteSettings) {
    this.#settings = settings;
    const options = { keepAlive: true, maxSockets: settings.connections, timeout: idleConnection };
    this.#agents = { httpAgent: new HttpAgent(options), httpsAgent: new HttpsAgent(options) };
  }

  /** Whether other credentials may be found than those that were. */
  get renewable(): boolean {
    return this.#settings.credentials === undefined;
  }

  /** Whether requests go to another server than AWS's own. */
  get elsewhere(): boolean {
    return endpointOf(this.#settings) !== undefined;
  }

  current(): Promise<S3Session> {
    this.#current ??= this.#make().catch((error) => {
      this.#current = undefined;
      throw error;
    });
    return this.#current;
  }

  /** Has the next {@link current} find credentials anew, unless that was done since the given one. */
  renew({ generation }: S3Session): void {
    if (generation !== this.#generation) return;
    this.#generation += 1;
    this.#current = undefined;
  }

  async #make(): Promise<S3Session> {
    const generation = this.#generation;
    const { S3 } = await import("@aws-sdk/client-s3");
    const client = (region: string | undefined) => withoutSecondHash(new S3(this.#config(region)));
    const s3 = client(this.#settings.region);
    if (this.#settings.region !== undefined || !this.elsewhere) return { s3, generation };
    const named = await s3.config.region().catch(() => undefined);
    return { s3: named === undefined ? client(regionOfNone) : s3, generation };
  }

  #config(region: string | undefined): S3ClientConfig {
    const { endpoint, pathStyle, credentials, timeouts } = this.#settings;
    const { connect, idle } = timeouts;
    const config: S3ClientConfig = {
      forcePathStyle: pathStyle ?? this.elsewhere,
      // Attempts are counted, timed and spaced here, bodies included, which the SDK leaves to its caller.
      maxAttempts: 1,
      // Content is verified by its hash; where the SDK's check helps to tell damage on the way, a request asks for it.
      responseChecksumValidation: "WHEN_REQUIRED",
      // With it, the SDK opens a connection for each large body instead of keeping some.
      expectContinueHeader: false,
      requestHandler: { ...this.#agents, connectionTimeout: connect, socketTimeout: idle },
      ...(region === undefined ? {} : { region }),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(credentials === undefined ? {} : { credentials: { ...credentials } }),
    };
    // The SDK keeps what it read of shared files; expired credentials may have been renewed there. Its providers know this
    // option, the client's type does not.
    if (this.#generation > 0) Object.assign(config, { ignoreCache: true });
    return config;
  }
}

/** A signature covers the body's SHA-256: where a request has it as its check, the SDK need not compute it. */
function withoutSecondHash(s3: S3): S3 {
  s3.middlewareStack.add(
    (next) => (args) => {
      const { headers } = args.request as { readonly headers: Record<string, string> };
      const check = headers["x-amz-checksum-sha256"];
      if (check !== undefined) headers["x-amz-content-sha256"] = Buffer.from(check, "base64").toString("hex");
      return next(args);
    },
    { step: "build", name: "withoutSecondHash" },
  );
  return s3;
}

/** Where requests go instead of AWS, as far as it is known without the SDK. */
export function endpointOf({ endpoint }: CompleteSettings): string | undefined {
  return endpoint ?? process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL;
}
