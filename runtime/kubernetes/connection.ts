import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type {
  AppsV1Api,
  AuthorizationV1Api,
  BatchV1Api,
  CoordinationV1Api,
  CoreV1Api,
  KubeConfig,
  PolicyV1Api,
  RequestContext,
  StorageV1Api,
  VersionApi,
} from "@kubernetes/client-node";
import { isKubeconfigContent } from "./kubeconfig-content";
import { type Patience, retrying } from "./retrying";

/** Where a namespace is and how it is reached. */
export interface ClusterAddress {
  /** Path of a kubeconfig, relative to the program's folder, or its content. Default: `KUBECONFIG`, else `~/.kube/config`. */
  readonly kubeconfig?: string | undefined;
  /** One of its contexts. Default: the current one. */
  readonly context?: string | undefined;
  readonly namespace: string;
}

/** A namespace of a cluster, and the clients that reach it. Credentials are read with each connection: old tokens may have expired. */
export interface Cluster {
  readonly namespace: string;
  readonly config: KubeConfig;
  readonly core: CoreV1Api;
  readonly apps: AppsV1Api;
  readonly batch: BatchV1Api;
  readonly coordination: CoordinationV1Api;
  readonly policy: PolicyV1Api;
  readonly storage: StorageV1Api;
  readonly authorization: AuthorizationV1Api;
  readonly version: VersionApi;
}

/**
 * Connects to a cluster; asks nothing yet. Requests are sent again for a while when the API server is away.
 * @throws Error when there is no such kubeconfig or context
 */
export async function connectCluster(
  { kubeconfig, context, namespace }: ClusterAddress,
  patience: Patience = {},
): Promise<Cluster> {
  // Loaded when it is used: a program on one machine needs none of it.
  const client = await import("@kubernetes/client-node");
  const config = new client.KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else if (isKubeconfigContent(kubeconfig)) load(config, "the kubeconfig given as content", kubeconfig);
  else {
    const path = resolve(kubeconfig);
    if (!existsSync(path)) throw new Error(`the kubeconfig ${path} does not exist`);
    config.loadFromFile(path);
  }
  const names = config.getContexts().map(({ name }) => name);
  if (context !== undefined) {
    if (!names.includes(context)) {
      throw new Error(`there is no context ${JSON.stringify(context)} in the kubeconfig; it has ${list(names)}`);
    }
    config.setCurrentContext(context);
  }
  if (config.getCurrentCluster() === null) {
    const current = config.getCurrentContext();
    throw new Error(
      `the kubeconfig has no cluster for its context ${JSON.stringify(current)}; it has the contexts ${list(names)}`,
    );
  }
  const source = sourceOf(kubeconfig, config);
  const http = new client.IsomorphicFetchHttpLibrary();
  const send = async (request: RequestContext) => {
    const { httpStatusCode, headers, body } = await http.send(request).toPromise();
    if (httpStatusCode === 401) throw new Error(notAccepted(config, source));
    // Read as part of the attempt: a connection may break in the middle.
    const whole = new client.SelfDecodingBody(Promise.resolve(await body.binary()));
    return new client.ResponseContext(httpStatusCode, headers, whole);
  };
  const configuration = client.createConfiguration({
    baseServer: new client.ServerConfiguration(config.getCurrentCluster()?.server ?? "", {}),
    authMethods: { default: config },
    httpApi: client.wrapHttpLibrary({ send: retrying(send, patience) }),
  });
  return {
    namespace,
    config,
    core: new client.CoreV1Api(configuration),
    apps: new client.AppsV1Api(configuration),
    batch: new client.BatchV1Api(configuration),
    coordination: new client.CoordinationV1Api(configuration),
    policy: new client.PolicyV1Api(configuration),
    storage: new client.StorageV1Api(configuration),
    authorization: new client.AuthorizationV1Api(configuration),
    version: new client.VersionApi(configuration),
  };
}

/** How a person knows the cluster that is connected. */
export function clusterName({ config }: Cluster): string {
  return `${config.getCurrentCluster()?.server ?? "no server"} (context ${config.getCurrentContext()})`;
}

/** Where a person finds the credentials. */
function sourceOf(kubeconfig: string | undefined, config: KubeConfig): string {
  const user = config.getCurrentUser()?.name ?? "none";
  const where =
    kubeconfig === undefined
      ? `the default kubeconfig (${process.env.KUBECONFIG ? `KUBECONFIG=${process.env.KUBECONFIG}` : "~/.kube/config"})`
      : isKubeconfigContent(kubeconfig)
        ? "the kubeconfig given as content"
        : `the kubeconfig ${resolve(kubeconfig)}`;
  return `user ${user} in ${where}`;
}

function notAccepted(config: KubeConfig, source: string): string {
  const server = config.getCurrentCluster()?.server;
  return `the API server ${server} does not accept the credentials of ${source} (HTTP 401): they may have expired. Renew them there, then run again`;
}

function load(config: KubeConfig, what: string, content: string): void {
  try {
    config.loadFromString(content);
  } catch (error) {
    throw new Error(`${what} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

const list = (names: readonly string[]) => (names.length === 0 ? "none" : names.join(", "));
