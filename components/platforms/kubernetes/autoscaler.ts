import type * as pulumi from "@pulumi/pulumi";
import { objectNames } from "../../../runtime/kubernetes/names";
import { durationSchema } from "../../../runtime/units";
import type { GatewayArgs } from "../../online-service-args";
import type { KedaArgs, RangeScaling, SecretKeyArgs } from "../../scaling";
import { sdk } from "../../sdk";
import { insideUrl } from "./gateway";
import { metadata, plugin } from "./metadata";
import { k8s } from "./sdk";

/** The gateway's metric. */
const metric = "comfyui_gateway_queue";
const kedaApi = "keda.sh/v1alpha1";
/** Prompts for each instance: one runs, one waits. */
const defaultTarget = 2;

export interface AutoscalerDeclaration {
  readonly name: string;
  readonly namespace: string;
  readonly release: pulumi.Output<string>;
  readonly scaling: RangeScaling;
  readonly gateway: GatewayArgs;
  readonly opts: pulumi.CustomResourceOptions;
}

/** What changes the number of a release's instances: an object of the release's own, named by it. */
export function autoscaler(declaration: AutoscalerDeclaration): void {
  const { name, namespace, release, scaling, gateway, opts } = declaration;
  const { min, max, by, scaleInAfter = "5m" } = scaling;
  const object = release.apply((id) => objectNames(name).release(id));
  const meta = metadata(object, name, namespace, "instance", { release, annotations: plugin.noWait });
  const behavior = { scaleDown: { stabilizationWindowSeconds: seconds(scaleInAfter) } };
  const target = { apiVersion: "apps/v1", kind: "Deployment", name: object };
  if (by.kind === "externalMetric") {
    const external = {
      metric: { name: by.name, selector: { matchLabels: { release } } },
      target: { type: "AverageValue", averageValue: String(by.target ?? defaultTarget) },
    };
    new (k8s().autoscaling.v2.HorizontalPodAutoscaler)(
      `${name}-autoscaler`,
      {
        metadata: meta,
        spec: {
          scaleTargetRef: target,
          minReplicas: min,
          maxReplicas: max,
          metrics: [{ type: "External", external }],
          behavior,
        },
      },
      opts,
    );
    return;
  }
  const credential = by.prometheus === undefined ? by.apiKey : by.prometheus.bearerToken;
  const authentication =
    credential === undefined ? [] : [triggerAuthentication(name, meta, by.prometheus !== undefined, credential, opts)];
  const scaled = new (k8s().apiextensions.CustomResource)(
    `${name}-autoscaler`,
    {
      apiVersion: kedaApi,
      kind: "ScaledObject",
      metadata: meta,
      spec: {
        scaleTargetRef: target,
        pollingInterval: seconds(by.pollingInterval ?? "15s"),
        minReplicaCount: min,
        maxReplicaCount: max,
        advanced: { horizontalPodAutoscalerConfig: { behavior } },
        triggers: [
          {
            ...trigger(by, insideUrl(name, namespace, gateway), release),
            metricType: "AverageValue",
            ...(credential === undefined ? {} : { authenticationRef: { name: object } }),
          },
        ],
      },
    },
    { ...opts, dependsOn: [...dependencies(opts), ...authentication] },
  );
  if (by.prometheus === undefined && by.apiKey === undefined && gateway.apiKeys !== undefined) {
    const reason =
      "keda() asks the gateway, which lets nobody in without a key: name the Secret with one in keda({ apiKey })";
    void sdk.log.warn(reason, scaled);
  }
}

/** https://keda.sh/docs/latest/scalers/metrics-api/, https://keda.sh/docs/latest/scalers/prometheus/ */
function trigger(
  { target = defaultTarget, prometheus, apiKey }: KedaArgs,
  url: string,
  release: pulumi.Output<string>,
) {
  if (prometheus === undefined) {
    return {
      type: "metrics-api",
      metadata: {
        url: `${url}/_gateway/queue`,
        format: "json",
        valueLocation: sdk.interpolate`prompts.${release}`,
        targetValue: String(target),
        ...(apiKey === undefined ? {} : { authMode: "bearer" }),
      },
    };
  }
  return {
    type: "prometheus",
    metadata: {
      serverAddress: prometheus.serverAddress,
      // Both gateways tell what the leading one knows.
      query: sdk.interpolate`max(${metric}{release="${release}"})`,
      threshold: String(target),
      // A release that does not serve is not to be scaled in before it has drained.
      ignoreNullValues: "false",
      ...(prometheus.bearerToken === undefined ? {} : { authModes: "bearer" }),
    },
  };
}

function triggerAuthentication(
  name: string,
  meta: ReturnType<typeof metadata>,
  prometheus: boolean,
  { secret, key = "key" }: SecretKeyArgs,
  opts: pulumi.CustomResourceOptions,
): pulumi.Resource {
  const parameter = prometheus ? "bearerToken" : "token";
  return new (k8s().apiextensions.CustomResource)(
    `${name}-autoscaler-credentials`,
    {
      apiVersion: kedaApi,
      kind: "TriggerAuthentication",
      metadata: meta,
      spec: { secretTargetRef: [{ parameter, name: secret, key }] },
    },
    opts,
  );
}

function dependencies({ dependsOn = [] }: pulumi.CustomResourceOptions): pulumi.Resource[] {
  return dependsOn as pulumi.Resource[];
}

/** What is no duration is refused by the claim's check, together with all else. */
function seconds(duration: string): number {
  const { data } = durationSchema.safeParse(duration);
  return Math.round((data ?? 0) / 1000);
}
