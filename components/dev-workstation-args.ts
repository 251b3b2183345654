import type * as pulumi from "@pulumi/pulumi";
import type { Duration } from "../runtime/units";
import type { ClaimEnvironment, Environment } from "./environment";
import type { Platform } from "./platforms";
import type { PodArgs } from "./pod";
import type { SnapshotPin } from "./store";

/** Arguments of `DevWorkstation`. */
export interface DevWorkstationArgs {
  /** Where it runs. Changing it replaces the workstation. */
  readonly platform: Platform;
  /**
   * The environment that it works in. On this machine its folder, or folder and layout; in a cluster `claim({ … })`. Changing it restarts ComfyUI.
   * A claim that is made for it goes with the workstation, and with the environment in it; one that is named stays.
   */
  readonly environment: Environment | ClaimEnvironment;
  /**
   * A `Snapshot`, its `reference`, or a pinned `<store>#sha256:<digest>`, or `{ reference, store }`: what a new folder or claim is filled with before the
   * first start. An environment that is there is left alone, and so is everything when this changes later. @default nothing
   */
  readonly from?: pulumi.Input<string> | SnapshotPin;
  /**
   * Whether ComfyUI runs. Changes in place; a stop waits for the running prompt. Save, stop, then publish: no plugin is then
   * half installed.
   * @default "running"
   */
  readonly state?: "running" | "stopped";
  /**
   * Without a prompt and without a request for so long, it stops by itself and frees its GPUs; Kubernetes only. It stays stopped over further
   * updates: `pulumi-comfyui open` starts it again. @default never
   */
  readonly idleStop?: Duration;
  /**
   * Port on the loopback interface, or of the Service in a cluster. Changing it restarts ComfyUI on this machine.
   * @default locally one that is free, chosen once and remembered; on Kubernetes 8188
   */
  readonly port?: number;
  /**
   * How its pod is made, where it differs from what the platform says; Kubernetes only. Changing it restarts ComfyUI. `storage` is
   * only requested when it is said here.
   * @default the platform's
   */
  readonly pod?: Partial<Omit<PodArgs, "nodeCache">>;
  /** Further command-line arguments of ComfyUI. Changing them restarts it. @default [] */
  readonly arguments?: readonly string[];
  /** Environment variables of ComfyUI. Changing them restarts it. @default {} */
  readonly environmentVariables?: Readonly<Record<string, pulumi.Input<string>>>;
  /** How long ComfyUI may take until it answers; in a cluster with its image and `from`. @default "10m"; in a cluster "30m" */
  readonly startTimeout?: Duration;
  /** How long a stop waits for the running prompt before it ends it. @default "10m" */
  readonly stopTimeout?: Duration;
}
