import type { Deployment } from "@pulumi/kubernetes/apps/v1";
import type * as pulumi from "@pulumi/pulumi";
import { labelsOf, objectNames, releaseLabel } from "../../../runtime/kubernetes/names";
import type { ClusterRelease } from "../../resources";
import { sdk } from "../../sdk";
import { comfyuiPod } from "./comfyui-pod";
import { metadata, plugin } from "./metadata";
import { releasePolicy } from "./network-policy";
import { k8s } from "./sdk";

export interface InstancesDeclaration {
  readonly name: string;
  readonly namespace: string;
  readonly release: ClusterRelease;
  /** Null where an autoscaler owns it: it starts as the release says, and is left alone from then on. */
  readonly count: number | null;
  /** What its pods need to be there first, and only they. */
  readonly after: readonly pulumi.Resource[];
  readonly opts: pulumi.CustomResourceOptions;
}

/**
 * The pods of a release: a Deployment that is named by its id, so that another release is another Deployment. Everything in its template
 * comes from the release's own outputs: what serves is not changed by what is declared for the next one.
 */
export function instances({ name, namespace, release, count, after, opts }: InstancesDeclaration): Deployment {
  const { id, settings, instance, programs, grace } = release;
  const objectName = id.apply((known) => objectNames(name).release(known));
  const meta = (annotations: Readonly<Record<string, string>>) =>
    metadata(objectName, name, namespace, "instance", { release: id, annotations });

  const told = new (k8s().core.v1.ConfigMap)(
    `${name}-instance`,
    { metadata: meta({}), data: { "instance.json": instance }, immutable: true },
    opts,
  );
  const environment = new (k8s().core.v1.Secret)(
    `${name}-environment`,
    { metadata: meta({}), stringData: sdk.secret(release.environmentVariables), immutable: true },
    opts,
  );
  const policy = releasePolicy({ name, namespace, release }, opts);
  const labels = { ...labelsOf(name, "instance"), [releaseLabel]: id };
  new (k8s().policy.v1.PodDisruptionBudget)(
    `${name}-instances`,
    {
      metadata: meta(plugin.noWait),
      spec: { maxUnavailable: 1, unhealthyPodEvictionPolicy: "AlwaysAllow", selector: { matchLabels: labels } },
    },
    opts,
  );
  return new (k8s().apps.v1.Deployment)(
    `${name}-instances`,
    {
      metadata: meta(plugin.waitForUid),
      spec: {
        replicas: count ?? release.startCount,
        revisionHistoryLimit: 0,
        // How long it may take is the gate's to say.
        progressDeadlineSeconds: 2_147_483_647,
        // A pod template never changes, since a changed one is another release.
        strategy: { type: "Recreate" },
        selector: { matchLabels: labels },
        template: {
          metadata: {
            labels,
            // On EKS, whoever assumes the pod's role is the agent only: plugins are strangers' code.
            annotations: { "eks.amazonaws.com/skip-containers": "comfyui" },
          },
          spec: sdk.all([settings, programs, grace, objectName]).apply(([pod, program, seconds, object]) => ({
            ...comfyuiPod({
              mode: "instance",
              ...{ pod, grace: seconds, programs: program, variables: object, told: object },
              environment: { emptyDir: {} },
              storage: pod.storage,
              agentEnvironment: [{ name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } }],
            }),
            topologySpreadConstraints: [
              {
                maxSkew: 1,
                topologyKey: "kubernetes.io/hostname",
                whenUnsatisfiable: "ScheduleAnyway",
                labelSelector: { matchLabels: labels },
              },
            ],
          })),
        },
      },
    },
    {
      ...opts,
      dependsOn: [told, environment, policy, ...after],
      ...(count === null ? { ignoreChanges: ["spec.replicas"] } : {}),
    },
  );
}
