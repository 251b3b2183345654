import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import { ComfyUIProject, claim, DevWorkstation, fixed, kubernetes, local, OnlineService, Snapshot } from "../../index";
import { podSettings } from "../../providers/declarations/pod";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations } from "../support/recording-mocks";

class Earlier extends pulumi.CustomResource {
  constructor(name: string) {
    super("test:index:Earlier", name, {});
  }
}

const platform = kubernetes({ namespace: "art", pod: { image: "registry/comfyui:1" } });
const onDisk = local({ directory: ".comfyui" });
const store = "s3://bucket/studio";
const reference = `${store}#sha256:${"a".repeat(64)}`;
const scaling = fixed(1);

/** The first resource of each component: what waits for it waits for what it waits for. */
test.each<[string, string, (opts: pulumi.ComponentResourceOptions) => pulumi.Resource]>([
  [
    "a service in a cluster",
    "ClusterServiceClaim",
    (opts) => new OnlineService("studio", { platform, snapshot: reference, scaling }, opts),
  ],
  [
    "a service on a machine",
    "ServiceClaim",
    (opts) => new OnlineService("studio", { platform: onDisk, snapshot: reference, scaling }, opts),
  ],
  [
    "a workstation in a cluster",
    "ClusterWorkstationClaim",
    (opts) => new DevWorkstation("studio", { platform, environment: claim({ size: "1Gi" }) }, opts),
  ],
  [
    "a workstation on a machine",
    "Workstation",
    (opts) => new DevWorkstation("studio", { platform: onDisk, environment: { root: "studio" } }, opts),
  ],
  [
    "a snapshot of a claim",
    "ClusterSnapshot",
    (opts) => new Snapshot("studio", { platform, environment: claim({ name: "studio" }), store }, opts),
  ],
  ["a snapshot of a folder", "Snapshot", (opts) => new Snapshot("studio", { environment: "./studio", store }, opts)],
  [
    "a project",
    "ClusterServiceClaim",
    (opts) => new ComfyUIProject("studio", { platform, environment: claim({ size: "1Gi" }), store, scaling }, opts),
  ],
])("%s waits for what its component depends on, one resource or several", async (_, type, make) => {
  const recording = recordDeclarations({
    ClusterServiceClaim: { programs: "studio-program" },
    ClusterRelease: {
      ...{ revision: 1, settings: podSettings({ image: "registry/comfyui:1" }, {}), instance: "{}" },
      ...{ programs: "studio-program", grace: 60, startCount: 1 },
    },
    ClusterWorkstationClaim: { programs: "studio-program" },
  });
  const found = (count: number) =>
    waitFor({
      what: `${count} of ${type}`,
      deadline: 20_000,
      interval: 10,
      look: () => {
        const all = recording.declared.filter((one) => one.type.endsWith(`comfyui:${type}`));
        return all.length >= count ? all.at(-1) : undefined;
      },
    });

  make({ dependsOn: new Earlier("one") });
  expect((await found(1)).dependsOn).toContain("Earlier one");

  make({ dependsOn: [new Earlier("two"), pulumi.output(new Earlier("three"))] });
  expect((await found(2)).dependsOn).toEqual(expect.arrayContaining(["Earlier two", "Earlier three"]));
});
