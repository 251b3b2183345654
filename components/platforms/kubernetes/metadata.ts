import type * as pulumi from "@pulumi/pulumi";
import { annotationsOf, labelsOf, type Part, releaseLabel } from "../../../runtime/kubernetes/names";
import { owner } from "../../resources";

/** What the plugin of @pulumi/kubernetes reads from annotations. */
export const plugin = {
  /** An object of this name that a killed run left is taken over, whoever wrote its fields. */
  adopt: { "pulumi.com/patchForce": "true" },
  /** Created once it is accepted: whether it works is the gate's to find, and a Service's or claim's own wait proves nothing. */
  noWait: { "pulumi.com/skipAwait": "true" },
  /** Created once it has a UID; its deletion still waits for its pods, without which nodes would go under them. */
  waitForUid: { "pulumi.com/waitFor": "jsonpath={.metadata.uid}" },
  /** Created once a load balancer has an address. */
  waitForAddress: { "pulumi.com/waitFor": "jsonpath={.status.loadBalancer.ingress[0].hostname}" },
} as const;

export interface ObjectOptions {
  readonly release?: pulumi.Input<string>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Metadata of an object of a service. */
export function metadata(
  name: pulumi.Input<string>,
  service: string,
  namespace: string,
  part: Part,
  { release, annotations }: ObjectOptions = {},
) {
  return {
    name,
    namespace,
    labels: { ...labelsOf(service, part), ...(release === undefined ? {} : { [releaseLabel]: release }) },
    annotations: { ...annotationsOf(owner()), ...plugin.adopt, ...annotations },
  };
}
