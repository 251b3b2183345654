import { z } from "zod";
import { ApiError, type KubernetesApi } from "../../kubernetes/api";
import type { GatewayStatus } from "../targets";
import { labels } from "./cluster-view";

/** `status.json`. */
export interface ClusterGatewayStatus extends GatewayStatus {
  /** Name of the pod that leads, and wrote this. */
  readonly leader: string;
}

const objectSchema = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string() }),
  data: z.record(z.string(), z.string()).default({}),
});
type StatusConfigMap = z.infer<typeof objectSchema>;

export interface StatusObjectOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly service: string;
}

/** The ConfigMap in which the leader says what it does. */
export class StatusObject {
  private known: StatusConfigMap | null = null;
  private written = "";

  constructor(private readonly options: StatusObjectOptions) {}

  /**
   * Writes a status unless it stands there already. Only over what was read before: one that another leader has changed since
   * is read again, and nothing is written if this gateway has ceased to lead in the meantime.
   */
  async write(status: ClusterGatewayStatus, leads: () => boolean): Promise<void> {
    const text = JSON.stringify(status);
    if (text === this.written) return;
    const { api } = this.options;
    this.known ??= await this.readOrCreate();
    if (!leads()) return;
    const body = { ...this.known, data: { ...this.known.data, "status.json": text } };
    try {
      this.known = objectSchema.parse(await api.request({ method: "PUT", path: this.path, body }));
      this.written = text;
    } catch (error) {
      this.known = null;
      // Changed or deleted by another one: what stands there is looked at with the next write.
      if (!(error instanceof ApiError && (error.status === 409 || error.status === 404))) throw error;
    }
  }

  private async readOrCreate(): Promise<StatusConfigMap> {
    const { api, namespace, service } = this.options;
    try {
      return objectSchema.parse(await api.request({ path: this.path }));
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
    const metadata = {
      name: `${service}-gateway-status`,
      namespace,
      labels: { ...labels(service, "gateway"), "app.kubernetes.io/managed-by": "pulumi-comfyui" },
    };
    const body = { apiVersion: "v1", kind: "ConfigMap", metadata, data: {} };
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    return objectSchema.parse(await api.request({ method: "POST", path, body }));
  }

  private get path(): string {
    const { namespace, service } = this.options;
    return `/api/v1/namespaces/${namespace}/configmaps/${service}-gateway-status`;
  }
}
