import * as pulumi from "@pulumi/pulumi";
import { claim, DevWorkstation, fixed, kubernetes, OnlineService, Snapshot } from "pulumi-comfyui";

const config = new pulumi.Config("comfyui");

/** Where, and how pods are made: README.md lists the settings. */
const platform = kubernetes({
  ...given("kubeconfig"),
  ...given("context"),
  namespace: config.require("namespace"),
  pod: {
    image: config.require("image"),
    gpus: config.getNumber("gpus") ?? 1,
    ...given("agentImage"),
    ...given("storage"),
    ...given("storeCredentials"),
  },
});
/** What the bucket needs to be told, besides where it is. */
const access = { ...given("region"), ...given("endpoint") };

/** What fills the new claim; without it a person does, and publishes later. */
const from = config.get("from");
const workstation = new DevWorkstation("studio", {
  platform,
  environment: claim({ size: config.get("size") ?? "200Gi", ...given("storageClass") }),
  state: config.get("workstation") === "stopped" ? "stopped" : "running",
  idleStop: "1h",
  ...(from === undefined ? {} : { from: { reference: from, store: access } }),
});
export const workstationUrl = workstation.url;

/** An empty claim has nothing to publish: `pulumi config set comfyui:publish true` once the environment is built. */
const published = config.getBoolean("publish") ? publish() : undefined;
export const snapshot = published?.snapshot ?? "nothing is published yet";
export const serviceUrl = published?.serviceUrl ?? "nothing is published yet";

function publish() {
  const store = { url: config.require("store"), ...access };
  const taken = new Snapshot("studio", { environment: workstation.environment, store });
  /** A rollback is one line: pulumi config set comfyui:pin "<an earlier snapshot output>" */
  const pin = config.get("pin");
  const host = config.get("host");
  const service = new OnlineService("studio", {
    platform,
    snapshot: pin === undefined ? taken : { reference: pin, store: access },
    scaling: fixed(config.getNumber("instances") ?? 2),
    ...(host === undefined
      ? {}
      : { gateway: { ingress: { host }, apiKeys: config.requireSecretObject<string[]>("apiKeys") } }),
  });
  return { snapshot: taken.reference, serviceUrl: service.url };
}

/** A setting under its own name, where it is set. */
function given<Name extends string>(name: Name): { readonly [key in Name]?: string } {
  const value = config.get(name);
  return (value === undefined ? {} : { [name]: value }) as { readonly [key in Name]?: string };
}
