import type { PodSettings } from "../../runtime/deployment";

/** What a gate or a drain is about. */
export interface GateCall {
  /** As its content. */
  readonly kubeconfig: string;
  readonly namespace: string;
  readonly service: string;
  readonly release: string;
  /** UID of the release's Deployment. */
  readonly deployment: string;
  readonly count: number;
  readonly settings: PodSettings;
}

/** What it took. */
export interface GateUse {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
  /** Messages to the person who watches, and the characters of the longest. */
  readonly messages: number;
  readonly longest: number;
}
