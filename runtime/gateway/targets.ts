/**
 * What tells a gateway where to send requests, and what a gateway answers about itself.
 * Locally this is a file that the supervisor replaces atomically; on other platforms another source gives the same data.
 */
export interface Targets {
  /** Grows with every change. A gateway repeats the one that it has applied in its {@link GatewayStatus}. */
  readonly generation: number;
  /** The release that gets new prompts, or null when the gateway serves nothing. */
  readonly serving: string | null;
  readonly instances: readonly TargetInstance[];
}

export type InstanceState = "ready" | "draining" | "unready";

export interface TargetInstance {
  /** Unique over all releases, for example `r3-x7k2q/0`. */
  readonly id: string;
  readonly release: string;
  /** For example `http://127.0.0.1:40123`. */
  readonly url: string;
  /**
   * `ready` instances get new prompts once their release serves (before that only from the deployer);
   * `draining` ones finish what they have: the gateway still finds results, running prompts and sockets there.
   * `unready` ones get no new prompts for now, but are to stay: nothing is told of them as drained.
   */
  readonly state: InstanceState;
  /** Changes whenever the ComfyUI process behind the id was started anew: what it had queued before is lost. */
  readonly epoch: number;
}

/** Everything else that a gateway needs to know, read at its start and again whenever its file changes. */
export interface GatewaySettings {
  /** SHA-256 of each accepted API key, in hex. Empty: everybody is let in. */
  readonly apiKeyHashes: readonly string[];
  /** SHA-256 of the deployer's token, in hex. */
  readonly deployerTokenHash: string;
  /** Largest request body in bytes. */
  readonly maximumBodySize: number;
  /** Milliseconds for which results of instances that went are kept. */
  readonly resultRetention: number;
  /** Most bytes that kept results and uploads may take together. */
  readonly maximumSpoolSize: number;
}

/** `GET /_gateway/status`, with the deployer's token. */
export interface GatewayStatus {
  readonly protocol: 1;
  readonly pid: number;
  readonly generation: number;
  readonly serving: string | null;
  readonly openSockets: number;
  readonly instances: readonly GatewayInstanceStatus[];
}

export interface GatewayInstanceStatus {
  readonly id: string;
  readonly state: InstanceState;
  /** Requests under way to it, a slow download included; WebSockets and event streams, which last, are not. */
  readonly inFlight: number;
  /** Running plus waiting prompts as it last answered, or null while it does not answer. */
  readonly queueRemaining: number | null;
  /**
   * True once it is draining and nothing of it is needed any more: no request under way, its queue empty,
   * and every result copied to the gateway's own folder, from where clients still get it.
   */
  readonly drained: boolean;
}

/** Header by which the deployer reaches a candidate release before it serves, with {@link deployerTokenHeader}. */
export const releaseHeader = "x-comfyui-release";
export const deployerTokenHeader = "x-comfyui-deployer-token";
