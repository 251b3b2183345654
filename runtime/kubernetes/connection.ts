import { existsSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import type {
  ApisApi,
  AppsV1Api,
  AuthorizationV1Api,
  AutoscalingV2Api,
  BatchV1Api,
  CoordinationV1Api,
  CoreV1Api,
  CustomObjectsApi,
  KubeConfig,
  PolicyV1Api,
  RequestContext,
  StorageV1Api,
  VersionApi,
} from "@kubernetes/client-node";
import { isKubeconfigContent } from "./kubeconfig-content";
import { type Patience, retrying } from "./retrying";

/** Milliseconds that a call gets. A server that is away for longer is asked again, or said to be away. */
export const callTimeout = 15_000;

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
  readonly autoscaling: AutoscalingV2Api;
  readonly policy: PolicyV1Api;
  /** Objects of kinds that a cluster may lack. */
  readonly custom: CustomObjectsApi;
  /** Which groups of APIs are served. */
  readonly apis: ApisApi;
  readonly coordination: CoordinationV1Api;
  readonly storage: StorageV1Api;
  readonly authorization: AuthorizationV1Api;
  readonly version: VersionApi;
}

/** A kubeconfig without the context that is asked for. */
export class ContextError extends Error {
  override readonly name = "ContextError";
}

/**
 * Connects to a cluster; asks nothing yet. Requests are sent again for a while when the API server is away.
 * @throws Error, of a context {@link ContextError}, when there is no such kubeconfig or context
 */
export async function connectCluster(
  { kubeconfig, context, namespace }: ClusterAddress,
  patience: Patience = {},
): Promise<Cluster> {
  // Loaded when it is used: a program on one machine needs none of it.
  const client = await import("@kubernetes/client-node");
  const config = new client.KubeConfig();
  if (kubeconfig === undefined) loadDefault(config);
  else if (isKubeconfigContent(kubeconfig)) {
    load(config, "the kubeconfig given as content", () => config.loadFromString(kubeconfig));
  } else loadFile(config, resolve(kubeconfig));
  const names = config.getContexts().map(({ name }) => name);
  if (context !== undefined) {
    if (!names.includes(context)) {
      throw new ContextError(`there is no context ${JSON.stringify(context)} in the kubeconfig; it has ${list(names)}`);
    }
    config.setCurrentContext(context);
  }
  if (config.getCurrentCluster() === null) {
    const current = config.getCurrentContext();
    throw new ContextError(
      current === undefined || current === ""
        ? `the kubeconfig has no current context: name one of ${list(names)}`
        : `the kubeconfig has no cluster for its context ${JSON.stringify(current)}; it has the contexts ${list(names)}`,
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
    autoscaling: new client.AutoscalingV2Api(configuration),
    policy: new client.PolicyV1Api(configuration),
    custom: new client.CustomObjectsApi(configuration),
    apis: new client.ApisApi(configuration),
    coordination: new client.CoordinationV1Api(configuration),
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

/** Where a pod finds its own credentials. */
const podToken = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/** As kubectl looks for it. The client library would otherwise assume a server on this machine. */
function loadDefault(config: KubeConfig): void {
  const named = (process.env.KUBECONFIG ?? "").split(delimiter).filter(Boolean);
  for (const path of named) demandFile(resolve(path), "KUBECONFIG names");
  const usual = join(process.env.HOME ?? homedir(), ".kube", "config");
  if (named.length === 0 && !existsSync(usual) && !existsSync(podToken)) {
    throw new Error(`there is no kubeconfig: none is declared, KUBECONFIG is not set, and ${usual} does not exist`);
  }
  load(config, `the kubeconfig ${named.length === 0 ? usual : named.join(delimiter)}`, () => config.loadFromDefault());
}

function loadFile(config: KubeConfig, path: string): void {
  demandFile(path, "it is declared as");
  load(config, `the kubeconfig ${path}`, () => config.loadFromFile(path));
}

function demandFile(path: string, by: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new Error(`the kubeconfig does not exist: ${by} ${path}`);
  if (!found.isFile()) throw new Error(`the kubeconfig is no file: ${by} ${path}`);
}

/** What it is made of is full of credentials: of a failure, no more is told than what it is and where. */
function load(config: KubeConfig, what: string, read: () => void): void {
  try {
    read();
  } catch (error) {
    throw new Error(`${what} cannot be read: ${whyUnreadable(error)}`);
  }
  if (config.getContexts().length === 0 && config.getClusters().length === 0) {
    throw new Error(`${what} is none: it has neither contexts nor clusters`);
  }
}

function whyUnreadable(error: unknown): string {
  // As js-yaml throws it; its message quotes the lines around the fault.
  const { name, reason, mark, message, code } = error as Error & {
    readonly reason?: string;
    readonly mark?: { readonly line: number; readonly column: number };
    readonly code?: string;
  };
  if (name === "YAMLException") {
    return `it is no YAML (${reason}${mark === undefined ? "" : `, line ${mark.line + 1}, column ${mark.column + 1}`})`;
  }
  if (name === "TypeError") return "it is no kubeconfig";
  return code === undefined ? message : `${code}: ${message}`;
}

const list = (names: readonly string[]) => (names.length === 0 ? "none" : names.join(", "));
