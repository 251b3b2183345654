import type * as pulumi from "@pulumi/pulumi";
import type { PodSettings } from "../../runtime/deployment";
import { ComfyUIResource } from "./resource";

export { owner } from "./resource";

/** Claims the service's name on its platform. First of a service's resources: its check speaks for all. */
export class ServiceClaim extends ComfyUIResource {
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("ServiceClaim", name, inputs, ["since"], opts);
  }
}

/** The reverse proxy in front of the service. */
export class Gateway extends ComfyUIResource {
  declare readonly url: pulumi.Output<string>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("Gateway", name, inputs, ["url"], opts);
  }
}

/** What instances start with; its id is the release's. */
export class Release extends ComfyUIResource {
  declare readonly revision: pulumi.Output<number>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("Release", name, inputs, ["revision"], opts);
  }
}

/** The instances of a release. */
export class Instances extends ComfyUIResource {
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("Instances", name, inputs, [], opts);
  }
}

/** Passes when the instances are proven; drains them when it goes. */
export class HealthGate extends ComfyUIResource {
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("HealthGate", name, inputs, [], opts);
  }
}

/** Points the gateway at a release. */
export class TrafficSwitch extends ComfyUIResource {
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("TrafficSwitch", name, inputs, [], opts);
  }
}

/** A ComfyUI that works in an environment itself. */
export class Workstation extends ComfyUIResource {
  declare readonly url: pulumi.Output<string>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("Workstation", name, inputs, ["url"], opts);
  }
}

/** A packed environment in a store. */
export class SnapshotContent extends ComfyUIResource {
  declare readonly reference: pulumi.Output<string>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("Snapshot", name, inputs, ["reference"], opts);
  }
}

/** A packed environment of a claim, in a store. */
export class ClusterSnapshotContent extends ComfyUIResource {
  declare readonly reference: pulumi.Output<string>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    const secrets = { additionalSecretOutputs: ["kubeconfig"] };
    super("ClusterSnapshot", name, inputs, ["reference"], { ...opts, ...secrets });
  }
}

/** Claims the service's name in a cluster's namespace. First of a service's resources: its check speaks for all. */
export class ClusterServiceClaim extends ComfyUIResource {
  /** Name of the ConfigMap that has the programs of gateway and agent. */
  declare readonly programs: pulumi.Output<string>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("ClusterServiceClaim", name, inputs, ["since", "programs"], opts);
  }
}

/** What the pods of a release are made of; its id is the release's. */
export class ClusterRelease extends ComfyUIResource {
  declare readonly settings: pulumi.Output<PodSettings>;
  declare readonly instance: pulumi.Output<string>;
  declare readonly programs: pulumi.Output<string>;
  declare readonly grace: pulumi.Output<number>;
  declare readonly startCount: pulumi.Output<number>;
  declare readonly environmentVariables: pulumi.Output<Readonly<Record<string, string>>>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    const outputs = ["revision", "settings", "instance", "programs", "grace", "startCount"];
    const { environmentVariables = {}, ...rest } = inputs;
    super("ClusterRelease", name, { ...rest, environmentVariables }, outputs, {
      ...opts,
      additionalSecretOutputs: ["environmentVariables", "kubeconfig"],
    });
  }
}

/** Nodes of a release's own: as many as it needs, ready, before its instances. */
export class NodeCapacity extends ComfyUIResource {
  /** How many. */
  declare readonly nodes: pulumi.Output<number>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("NodeCapacity", name, inputs, ["nodes"], opts);
  }
}

/** Passes when the pods are proven; drains them when it goes. */
export class ClusterHealthGate extends ComfyUIResource {
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("ClusterHealthGate", name, inputs, [], opts);
  }
}

/** Points the gateway at a release. */
export class ClusterTrafficSwitch extends ComfyUIResource {
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("ClusterTrafficSwitch", name, inputs, [], opts);
  }
}

/** Claims the workstation's name in a cluster's namespace. First of a workstation's resources: its check speaks for all. */
export class ClusterWorkstationClaim extends ComfyUIResource {
  /** Name of the ConfigMap that has the agent's program. */
  declare readonly programs: pulumi.Output<string>;
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("ClusterWorkstationClaim", name, inputs, ["since", "programs"], opts);
  }
}

/** Has the workstation's pod run or not. */
export class ClusterWorkstation extends ComfyUIResource {
  constructor(name: string, inputs: pulumi.Inputs, opts: pulumi.CustomResourceOptions) {
    super("ClusterWorkstation", name, inputs, [], opts);
  }
}
