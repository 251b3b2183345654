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
  type SnapshotPin,
  shared,
} from "pulumi-comfyui";
import { config, given, machine, ownPlacement, required } from "./settings";

/** Stacks other than `dev` serve what `dev` has published, or what they pin. */
export = async () => {
  const { region } = await requireAws({ settings: required });
  return pulumi.getStack() === "dev" ? dev() : serving(region);
};

const namespace = () => config.require("namespace");
const platform = () =>
  kubernetes({
    ...given("kubeconfig"),
    context: config.require("context"),
    namespace: namespace(),
    pod: {
      image: config.require("image"),
      gpus: config.getNumber("gpus") ?? 1,
      ...given("agentImage"),
      ...given("storage"),
    },
  });
/** By it a workstation finds the nodes of the stack's group, whose name changes. */
const pool = () => ({ "comfyui/pool": pulumi.getStack() });

/** A person builds here; once there is something to publish, every `pulumi up` packs what changed, and a small service shows it. */
function dev() {
  const bucket = new SnapshotBucket("snapshots", { bucketName: config.require("bucketName") }, { protect: true });
  const place = platform();
  const packers = access("packers", "pack", bucket);
  const nodes = nodeGroup();
  const workstation = new DevWorkstation(
    "studio",
    {
      platform: place,
      environment: claim({ size: config.get("size") ?? "200Gi", ...given("storageClass") }),
      state: config.get("workstation") === "stopped" ? "stopped" : "running",
      idleStop: "1h",
      pod: { nodeSelector: pool(), serviceAccount: packers.serviceAccount },
    },
    { dependsOn: [packers, nodes] },
  );
  const outputs = { workstationUrl: workstation.url, bucket: bucket.store.url };
  if (!config.getBoolean("publish")) return { ...outputs, snapshot: "nothing is published yet" };
  const snapshot = new Snapshot("studio", { environment: workstation.environment, store: bucket });
  return { ...outputs, snapshot: snapshot.reference, serviceUrl: serve(snapshot, bucket, nodes) };
}

/** Users are served from here. A pin goes forward and back by one line; without one, `pulumi up` promotes what `dev` has published by now. */
function serving(region: string) {
  const url = `s3://${config.require("bucketName")}`;
  const reference = config.get("pin") ?? published();
  const nodes = ownPlacement() === null ? nodeGroup() : undefined;
  return { snapshot: reference, serviceUrl: serve({ reference, store: { region } }, { url }, nodes) };
}

function published(): pulumi.Output<string> {
  return new pulumi.StackReference(config.require("devStack")).requireOutput("snapshot").apply(String);
}

/** Nodes that stay in a rotation, unless what they are made of changes. */
function nodeGroup(): GpuNodeGroup {
  return new GpuNodeGroup("gpus", { ...machine(), size: config.getNumber("nodes") ?? 4, labels: pool() });
}

function access(name: "readers" | "packers", kind: "read" | "pack", bucket: SnapshotBucket | { readonly url: string }) {
  const serviceAccount = `studio-${name}`;
  const identity = podIdentity({ cluster: config.require("cluster"), namespace: namespace(), serviceAccount });
  return new SnapshotAccess(name, { bucket, access: kind, identity, platform: platform() });
}

function serve(
  snapshot: Snapshot | SnapshotPin,
  bucket: SnapshotBucket | { readonly url: string },
  nodes: GpuNodeGroup | undefined,
): pulumi.Output<string> {
  const readers = access("readers", "read", bucket);
  const placement = ownPlacement() ?? (nodes && shared(nodes));
  const service = new OnlineService(
    "studio",
    {
      platform: platform(),
      snapshot,
      scaling: fixed(config.getNumber("instances") ?? 2),
      pod: { serviceAccount: readers.serviceAccount },
      ...(placement === undefined ? {} : { placement }),
      health: { timeout: "30m" },
      gateway: gateway(),
      verify: { command: "node acceptance.mjs", timeout: "10m" },
    },
    { dependsOn: [readers] },
  );
  return service.url;
}

/** A load balancer where there is a host for it, internal unless the stack says otherwise. */
function gateway(): GatewayArgs {
  const apiKeys = config.getSecretObject<string[]>("apiKeys");
  const keys = apiKeys === undefined ? {} : { apiKeys };
  const host = config.get("host");
  if (host === undefined) return keys;
  const scheme = config.get("scheme") === "internet-facing" ? "internet-facing" : "internal";
  return { ...keys, entrance: albIngress({ host, scheme, tls: { certificateArn: config.require("certificateArn") } }) };
}
