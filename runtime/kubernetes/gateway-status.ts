import type { GatewayStatus } from "../gateway/targets";
import type { Cluster } from "./connection";
import { objectNames } from "./names";
import { WatchedConfigMap } from "./watched-config-map";

/** What the leading gateway says of itself. */
export class GatewayStatusWatch extends WatchedConfigMap<GatewayStatus> {
  constructor(cluster: Cluster, service: string, problem: (text: string) => void) {
    super(cluster, objectNames(service).gatewayStatus, statusIn, problem);
  }

  /** Null while no gateway has said anything. */
  get current(): GatewayStatus | null {
    return this.said;
  }
}

function statusIn(data: Readonly<Record<string, string>> | undefined): GatewayStatus | null {
  const text = data?.["status.json"];
  return text === undefined ? null : (JSON.parse(text) as GatewayStatus);
}
