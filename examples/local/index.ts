import { join, resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { ComfyUIProject, fixed, type Layout, local } from "pulumi-comfyui";
import { makeEnvironment } from "./environment";

const config = new pulumi.Config("comfyui");

/** The folder of a person's own ComfyUI, or of one that is made here: a stand-in with two plugins, which needs no GPU and no models. */
const ownPath = config.get("path");
export const environment = resolve(ownPath ?? join(__dirname, "studio"));
if (ownPath === undefined) makeEnvironment(environment, (line) => void pulumi.log.info(line));

/** Where the parts of an own ComfyUI are, when not at their default places. */
const layout = config.getObject<Partial<Layout>>("layout");

/** A rollback is one line: pulumi config set comfyui:pin "<an earlier snapshot output>" */
const pin = config.get("pin") || undefined;

const project = new ComfyUIProject("studio", {
  platform: local({ directory: ".comfyui" }),
  environment: layout === undefined ? environment : { root: environment, layout },
  store: ".comfyui/store",
  scaling: fixed(config.getNumber("instances") ?? 2),
  service: {
    ...(pin === undefined ? {} : { snapshot: pin }),
    // The smoke workflow draws with the two plugins of the environment that is made here.
    health: ownPath === undefined ? { smoke: "smoke.json" } : {},
  },
});

export const serviceUrl = project.service.url;
export const workstationUrl = project.workstation.url;
export const snapshot = project.snapshot.reference;
