import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { ComfyUIProject, fixed, local } from "pulumi-comfyui";
import { makeEnvironment } from "./environment";

const config = new pulumi.Config("comfyui");

/** A person's own ComfyUI, or one that is made here: a stand-in with two plugins, which needs no GPU and no models. */
const environment = config.get("path") ?? "studio";
if (config.get("path") === undefined) {
  makeEnvironment(join(__dirname, environment), (line) => void pulumi.log.info(line));
}

/** A rollback is one line: pulumi config set comfyui:pin "<an earlier snapshot output>" */
const pin = config.get("pin");

const project = new ComfyUIProject("studio", {
  platform: local({ directory: ".comfyui" }),
  environment,
  store: ".comfyui/store",
  scaling: fixed(config.getNumber("instances") ?? 2),
  service: {
    ...(pin === undefined ? {} : { snapshot: pin }),
    health: { ...(config.get("path") === undefined ? { smoke: "smoke.json" } : {}) },
  },
});

export const serviceUrl = project.service.url;
export const workstationUrl = project.workstation.url;
export const snapshot = project.snapshot.reference;
export { environment };
