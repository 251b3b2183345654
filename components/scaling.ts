import type { Duration } from "../runtime/units";

/** See {@link fixed}. */
export interface FixedScaling {
  readonly kind: "fixed";
  readonly count: number;
}

/** A key of a Secret in the platform's namespace. */
export interface SecretKeyArgs {
  /** Name of the Secret. */
  readonly secret: string;
  /** @default "key" */
  readonly key?: string;
}

/** A Prometheus that scrapes the gateway's `/metrics`. */
export interface PrometheusArgs {
  /** For example `"http://prometheus.monitoring:9090"`. */
  readonly serverAddress: string;
  /** What its requests carry as `Authorization: Bearer …`. @default nothing */
  readonly bearerToken?: SecretKeyArgs;
}

interface KedaTriggerArgs {
  /** Prompts, running and waiting, that there should be for each instance. @default 2: one runs, one waits */
  readonly target?: number;
  /** How often the queue is looked at. @default "15s" */
  readonly pollingInterval?: Duration;
}

/** Arguments of {@link keda}: the gateway itself is asked, or a Prometheus. */
export type KedaArgs = KedaTriggerArgs &
  (
    | {
        /** One of the gateway's API keys. @default none: the gateway lets everybody in */
        readonly apiKey?: SecretKeyArgs;
        readonly prometheus?: never;
      }
    | { readonly prometheus: PrometheusArgs; readonly apiKey?: never }
  );

/** Arguments of {@link externalMetric}. */
export interface ExternalMetricArgs {
  /**
   * Name under which the cluster's metrics adapter serves the gateway's `comfyui_gateway_queue`; asked for with the label `release`.
   */
  readonly name: string;
  /** Prompts, running and waiting, that there should be for each instance. @default 2: one runs, one waits */
  readonly target?: number;
}

/** What changes the number of instances. */
export type Autoscaler =
  | ({ readonly kind: "keda" } & KedaArgs)
  | ({ readonly kind: "externalMetric" } & ExternalMetricArgs);

/** Arguments of {@link range}. */
export interface RangeArgs {
  /** Fewest instances, at least one. Changes in place. */
  readonly min: number;
  /** Most instances of one release: while one replaces another, there are those of both. Changes in place. */
  readonly max: number;
  /** What changes the number in between. Changes in place. */
  readonly by: Autoscaler;
  /** For how long fewer instances must have been enough before some go. Changes in place. @default "5m" */
  readonly scaleInAfter?: Duration;
}

/** See {@link range}. */
export interface RangeScaling extends RangeArgs {
  readonly kind: "range";
}

/** How many instances a service has. */
export type Scaling = FixedScaling | RangeScaling;

/** So many instances, at least one. Changing the count starts or drains instances in place: no rotation. */
export function fixed(count: number): FixedScaling {
  return { kind: "fixed", count };
}

/**
 * As many instances as the prompts that run and wait need, between two bounds; Kubernetes only. An autoscaler owns the number: a new
 * release starts with as many as the one has that it replaces, and is scaled once it serves. Instances that go finish their work; idle
 * ones go first.
 *
 *     scaling: range({ min: 1, max: 8, by: keda() })
 */
export function range(args: RangeArgs): RangeScaling {
  return { kind: "range", ...args };
}

/** Scaled by KEDA (https://keda.sh), which has to be in the cluster. */
export function keda(args: KedaArgs = {}): Autoscaler {
  return { kind: "keda", ...args };
}

/** Scaled by a HorizontalPodAutoscaler, on a metric that an adapter in the cluster serves as `external.metrics.k8s.io`. */
export function externalMetric(args: ExternalMetricArgs): Autoscaler {
  return { kind: "externalMetric", ...args };
}
