import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import {
  albIngress,
  claim,
  DevWorkstation,
  fixed,
  type GatewayArgs,
  GpuNodeGroup,
  kubernetes,
  OnlineService,
  podIdentity,
  requireAws,
  Snapshot,
  SnapshotAccess,
  SnapshotBucket,
  shared,
} from "pulumi-comfyui";
import { cluster as makeCluster } from "./cluster";

const config = new pulumi.Config("comfyui");
const name = `comfyui-${pulumi.getStack()}`;
const namespace = "studio";
const host = config.get("host");
/** Nodes with GPUs, found by it whatever their group is called. */
const pool = { "comfyui/pool": "gpus" };

/** Everything: network, cluster, nodes, bucket, and the project on it. */
export = async () => {
  const { region } = await requireAws({ settings: ["comfyui:image", "comfyui:bucketName"] });
  const { cluster, provider, privateSubnetIds, ready } = makeCluster(name, {
    region,
    withLoadBalancers: host !== undefined,
  });
  const nodes = new GpuNodeGroup(
    "gpus",
    {
      cluster,
      subnetIds: privateSubnetIds,
      instanceTypes: config.getObject<string[]>("instanceTypes") ?? ["g6e.2xlarge"],
      size: config.getNumber("nodes") ?? 3,
      disk: { size: config.get("disk") ?? "200Gi" },
      labels: pool,
      // The cluster's network plugin has no role of its own.
      cniPolicy: true,
      devicePlugin: { provider },
    },
    { dependsOn: [cluster] },
  );
  const home = new k8s.core.v1.Namespace(
    namespace,
    // A gateway takes requests of a load balancer when that finds it healthy.
    { metadata: { name: namespace, labels: { "elbv2.k8s.aws/pod-readiness-gate-inject": "enabled" } } },
    { provider, dependsOn: [...ready] },
  );
  const platform = kubernetes({
    // Not known, and so not asked, before the namespace is there as well.
    kubeconfig: pulumi.all([cluster.kubeconfigJson, home.id]).apply(([kubeconfig]) => kubeconfig),
    namespace,
    pod: { image: config.require("image"), gpus: config.getNumber("gpus") ?? 1 },
  });
  const bucket = new SnapshotBucket("snapshots", { bucketName: config.require("bucketName") }, { protect: true });
  const access = (account: "readers" | "packers", kind: "read" | "pack") =>
    new SnapshotAccess(
      account,
      {
        bucket,
        access: kind,
        platform,
        identity: podIdentity({ cluster, namespace, serviceAccount: `studio-${account}` }),
      },
      { dependsOn: [home] },
    );

  const pin = config.get("pin");
  const desk = config.get("workstation") === "none" ? undefined : workstation();
  const outputs = { kubeconfig: pulumi.secret(cluster.kubeconfigJson), bucket: bucket.store.url, ...desk?.outputs };
  /** A rollback is one line: pulumi config set comfyui:pin "<an earlier snapshot output>" */
  const snapshot = pin === undefined ? desk?.snapshot : { reference: pin, store: { region } };
  if (snapshot === undefined) return { ...outputs, snapshot: "nothing is published yet" };
  const readers = access("readers", "read");
  const service = new OnlineService(
    "studio",
    {
      platform,
      snapshot,
      scaling: fixed(config.getNumber("instances") ?? 1),
      placement: shared(nodes),
      pod: { serviceAccount: readers.serviceAccount },
      health: { timeout: "30m" },
      gateway: gateway(),
    },
    { dependsOn: [readers, ...ready] },
  );
  return { ...outputs, snapshot: snapshot.reference, serviceUrl: service.url };

  /** A person builds here, and `comfyui:publish` says when there is something to publish. */
  function workstation() {
    const packers = access("packers", "pack");
    const made = new DevWorkstation(
      "studio",
      {
        platform,
        environment: claim({ size: config.get("size") ?? "200Gi", storageClass: "gp3" }),
        state: config.get("workstation") === "stopped" ? "stopped" : "running",
        idleStop: "1h",
        pod: { nodeSelector: pool, serviceAccount: packers.serviceAccount },
      },
      { dependsOn: [packers, nodes, ...ready] },
    );
    const snapshot = config.getBoolean("publish")
      ? new Snapshot("studio", { environment: made.environment, store: bucket })
      : undefined;
    return { outputs: { workstationUrl: made.url }, snapshot };
  }
};

/** A load balancer where there is a host for it, internal unless the stack says otherwise. */
function gateway(): GatewayArgs {
  const apiKeys = config.getSecretObject<string[]>("apiKeys");
  const keys = apiKeys === undefined ? {} : { apiKeys };
  if (host === undefined) return keys;
  const scheme = config.get("scheme") === "internet-facing" ? "internet-facing" : "internal";
  return { ...keys, entrance: albIngress({ host, scheme, tls: { certificateArn: config.require("certificateArn") } }) };
}
