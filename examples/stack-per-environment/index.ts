import * as pulumi from "@pulumi/pulumi";
import { claim, DevWorkstation, fixed, kubernetes, OnlineService, Snapshot } from "pulumi-comfyui";

const config = new pulumi.Config("comfyui");
const optional = (name: string) => {
  const value = config.get(name);
  return value === undefined ? {} : { [name]: value };
};

const platform = kubernetes({
  ...optional("kubeconfig"),
  ...optional("context"),
  namespace: config.require("namespace"),
  pod: {
    image: config.require("image"),
    gpus: config.getNumber("gpus") ?? 1,
    ...optional("agentImage"),
    ...optional("storage"),
    ...optional("storeCredentials"),
  },
});
const access = { ...optional("region"), ...optional("endpoint") };

const outputs = pulumi.getStack() === "dev" ? dev() : prod();
/** Of `dev`: what `prod` may pin. Of `prod`: what it serves. */
export const snapshot = outputs.snapshot;
export const url = outputs.url;

/** A person builds here; every `pulumi up` publishes what changed. */
function dev() {
  const store = { url: config.require("store"), ...access };
  const from = config.get("from");
  const workstation = new DevWorkstation("studio", {
    platform,
    environment: claim({ size: config.get("size") ?? "200Gi", ...optional("storageClass") }),
    ...(from === undefined ? {} : { from: { reference: from, store: access } }),
  });
  const taken = new Snapshot("studio", { environment: workstation.environment, store });
  return { snapshot: taken.reference, url: workstation.url };
}

/**
 * Users are served from here, by a reference that is pinned. Without a pin it is what `dev` has published by now: then `pulumi up` is what promotes. With one, going
 * forward and back is this one line.
 */
function prod() {
  const reference = config.get("pin") ?? publishedBy(config.require("devStack"));
  const service = new OnlineService("studio", {
    platform,
    snapshot: { reference, store: access },
    scaling: fixed(config.getNumber("instances") ?? 2),
  });
  return { snapshot: pulumi.output(reference), url: service.url };
}

function publishedBy(stack: string): pulumi.Output<string> {
  return new pulumi.StackReference(stack).requireOutput("snapshot").apply(String);
}
