import { existsSync, readFileSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { join } from "node:path";
import type { ApiAccess } from "./api";

/** Where the kubelet mounts a service account's token, the API server's certificate authority, and the namespace. */
const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

export interface InClusterAccess extends ApiAccess {
  readonly namespace: string;
}

/**
 * The API server as a pod reaches it, without the client library: an agent's bundle would be twice as big with it. Null where no token is
 * mounted. The token is read for each connection, since the kubelet renews it.
 */
export function inClusterAccess(folder = serviceAccountFolder): InClusterAccess | null {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = "443" } = process.env;
  const token = join(folder, "token");
  if (!host || !existsSync(token)) return null;
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  return {
    namespace: readFileSync(join(folder, "namespace"), "utf8").trim(),
    getCurrentCluster: () => ({ server }),
    applyToHTTPSOptions: async (options: RequestOptions) => {
      options.ca = readFileSync(join(folder, "ca.crt"));
      options.headers = { ...options.headers, authorization: `Bearer ${readFileSync(token, "utf8").trim()}` };
    },
  };
}
