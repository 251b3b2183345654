import * as pulumi from "@pulumi/pulumi";
import { claim, DevWorkstation, fixed, kubernetes, OnlineService, Snapshot } from "pulumi-comfyui";

const config = new pulumi.Config("comfyui");

/** Where, and how pods are made: README.md lists the settings. */
const storeCredentials = config.get("storeCredentials");
const agentImage = config.get("agentImage");
const platform = kubernetes({
  ...given("kubeconfig"),
  ...given("context"),
  namespace: config.require("namespace"),
  pod: {
    image: config.require("image"),
    gpus: config.getNumber("gpus") ?? 1,
    ...(agentImage === undefined ? {} : { agentImage }),
    ...(storeCredentials === undefined ? {} : { storeCredentials }),
    ...(config.get("storage") === undefined ? {} : { storage: config.require("storage") }),
  },
});
const store = { url: config.require("store"), ...given("region"), ...given("endpoint") };

/** What fills the new claim; without it a person does, and publishes later. */
const from = config.get("from");
const workstation = new DevWorkstation("studio", {
  platform,
  environment: claim({ size: config.get("size") ?? "200Gi", ...given("storageClass") }),
  state: config.get("workstation") === "stopped" ? "stopped" : "running",
  idleStop: "1h",
  ...(from === undefined ? {} : { from: { reference: from, store } }),
});
export const workstationUrl = workstation.url;

/** An empty claim has nothing to publish: `pulumi config set comfyui:publish true` once the environment is built. */
const published = config.getBoolean("publish") ? publish() : undefined;
export const snapshot = published?.snapshot;
export const serviceUrl = published?.serviceUrl;

function publish() {
  const taken = new Snapshot("studio", { environment: workstation.environment, store });
  /** A rollback is one line: pulumi config set comfyui:pin "<an earlier snapshot output>" */
  const pin = config.get("pin");
  const host = config.get("host");
  const service = new OnlineService("studio", {
    platform,
    snapshot: pin === undefined ? taken : { reference: pin, store },
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
