/** What a store needs to be told besides its location. Everything is optional; none of it applies to a folder. */
export interface StoreSettings {
  /** The bucket's region, for example `eu-central-1`. @default what the AWS SDK finds (AWS_REGION, the profile); `us-east-1` with an endpoint */
  readonly region?: string;
  /** URL of an S3-compatible server, for example `https://minio.example.com:9000`. @default AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's, else AWS */
  readonly endpoint?: string;
  /** Whether the bucket stands in the URL's path instead of its host name. @default true with an endpoint, false without */
  readonly pathStyle?: boolean;
  /** Long-lived or temporary keys. @default the AWS SDK's chain: environment, shared files, single sign-on, container or instance role */
  readonly credentials?: StoreCredentials;
  /** Key of the AWS Key Management Service that encrypts what is written. @default the bucket's own encryption */
  readonly kmsKeyId?: string;
  /** Requests that may be under way at once, each with a connection of its own. @default 16 */
  readonly connections?: number;
  readonly timeouts?: StoreTimeouts;
  readonly retries?: StoreRetries;
}

export interface StoreCredentials {
  readonly accessKeyId: string;
  /** A secret. */
  readonly secretAccessKey: string;
  /** A secret; comes with temporary keys. */
  readonly sessionToken?: string;
}

/** All in milliseconds. */
export interface StoreTimeouts {
  /** To a connection. @default 10 seconds */
  readonly connect?: number;
  /** Without a byte in either direction, after which an attempt is given up. @default 30 seconds */
  readonly idle?: number;
  /** For one object or one part of it, attempts and pauses together. @default 15 minutes */
  readonly operation?: number;
}

export interface StoreRetries {
  /** Attempts that may fail one after another, without a byte gained, before an operation fails. @default 10 */
  readonly attempts?: number;
  /** Milliseconds before the second attempt; each further pause is twice as long, less a random part of up to a half. @default 100 */
  readonly firstPause?: number;
  /** Milliseconds. @default 10 seconds */
  readonly longestPause?: number;
}

/** The settings with nothing left open that has a fixed default. */
export interface CompleteSettings extends StoreSettings {
  readonly connections: number;
  readonly timeouts: Required<StoreTimeouts>;
  readonly retries: Required<StoreRetries>;
}

export function completeSettings(settings: StoreSettings): CompleteSettings {
  const { endpoint, connections = 16, timeouts, retries } = settings;
  if (endpoint !== undefined) requireEndpoint(endpoint);
  if (!Number.isInteger(connections) || connections < 1) {
    throw new Error(`settings.connections: ${connections} is not a number of connections; give 1 or more`);
  }
  return {
    ...settings,
    connections,
    timeouts: { connect: 10_000, idle: 30_000, operation: 15 * 60_000, ...timeouts },
    retries: { attempts: 10, firstPause: 100, longestPause: 10_000, ...retries },
  };
}

/** The text is not repeated where it may hold a password. */
function requireEndpoint(text: string): void {
  const right = "right is for example https://minio.example.com:9000";
  const url = URL.parse(text);
  if (url !== null && (url.username || url.password)) {
    throw new Error(`settings.endpoint: it holds a name or password; those go into settings.credentials; ${right}`);
  }
  if (url === null || !/^https?:$/.test(url.protocol) || url.search || url.hash) {
    throw new Error(`settings.endpoint: ${JSON.stringify(text)} is not the URL of a server; ${right}`);
  }
}
