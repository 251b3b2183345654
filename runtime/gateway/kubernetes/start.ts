import { KubeConfig } from "@kubernetes/client-node";
import { KubernetesApi } from "../../kubernetes/api";
import { printLog } from "../log";
import { Member } from "./member";

export interface KubernetesGatewayOptions {
  readonly service: string;
  readonly port: number;
  /** Address to listen at. Default: all. */
  readonly host?: string;
  /** For the spool. */
  readonly folder: string;
  /** See {@link MemberOptions}. */
  readonly farewell?: number;
  readonly keepAliveTimeout?: number;
  /** By the downward API: POD_NAME, POD_NAMESPACE, POD_IP. With KUBECONFIG, that file says where the API server is. */
  readonly environment: NodeJS.ProcessEnv;
}

/** Starts one of a service's gateways in a cluster; returns once it listens. */
export async function startKubernetesGateway(options: KubernetesGatewayOptions): Promise<{ close(): Promise<void> }> {
  const { environment, ...given } = options;
  const need = (name: string) => {
    const value = environment[name];
    if (!value) throw new Error(`${name} is not set: the pod's name, namespace and address are needed (downward API)`);
    return value;
  };
  const config = new KubeConfig();
  if (environment.KUBECONFIG) config.loadFromFile(environment.KUBECONFIG);
  else config.loadFromCluster();
  const member = new Member({
    api: new KubernetesApi(config),
    namespace: need("POD_NAMESPACE"),
    ...given,
    identity: { pod: need("POD_NAME"), address: need("POD_IP") },
    log: printLog,
  });
  await member.start();
  return member;
}
