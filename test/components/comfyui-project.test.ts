import { beforeAll, describe, expect, test } from "vitest";
import { ComfyUIProject, DevWorkstation, fixed, local, Snapshot } from "../../index";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations, valueIn } from "../support/recording-mocks";

const recording = recordDeclarations({
  Gateway: { url: "http://127.0.0.1:20001" },
  Workstation: { url: "http://127.0.0.1:20002" },
  Snapshot: { reference: `/store#sha256:${"b".repeat(64)}` },
});

const owner = { organization: "organization", project: "project", stack: "stack" };
const platform = local({ directory: ".comfyui" });

function find(type: string, name: string, prefix = "pulumi-nodejs:dynamic/comfyui") {
  return waitFor({
    what: `${type} ${name} to be declared`,
    deadline: 10_000,
    interval: 10,
    look: () => recording.declared.find((one) => one.type === `${prefix}:${type}` && one.name === name),
  });
}

describe("a workstation declares", () => {
  test("one resource with all its arguments, whose check hears of everything that the program declares", async () => {
    const workstation = new DevWorkstation("desk", {
      platform,
      environment: { root: "env", layout: { dependencies: "venv311" } },
      state: "stopped",
      port: 8188,
      arguments: ["--preview-method", "auto"],
      environmentVariables: { HF_HOME: "/hub" },
      startTimeout: "3m",
      stopTimeout: "1h",
    });
    new Snapshot("elsewhere", { environment: "other", store: "store" });

    const { inputs, parent, dependsOn } = await find("Workstation", "desk");
    const { declarations, ...rest } = inputs;
    expect(parent).toBe("DevWorkstation desk");
    expect(dependsOn).toEqual([]);
    expect(rest).toEqual({
      directory: ".comfyui",
      workstation: "desk",
      owner,
      environment: { root: "env", layout: { dependencies: "venv311" } },
      state: "stopped",
      port: 8188,
      arguments: ["--preview-method", "auto"],
      environmentVariables: { HF_HOME: "/hub" },
      startTimeout: "3m",
      stopTimeout: "1h",
      displayUrn:
        "urn:pulumi:stack::project::comfyui:index:DevWorkstation$pulumi-nodejs:dynamic/comfyui:Workstation::desk",
    });
    expect(declarations).toMatchObject([
      { kind: "DevWorkstation", name: "desk" },
      { kind: "Snapshot", name: "elsewhere", arguments: { environment: { root: "other" }, store: "store" } },
    ]);
    expect(await valueIn(workstation.url)).toBe("http://127.0.0.1:20002");
  });
});

describe("a snapshot declares", () => {
  test("one resource that waits for the workstation whose environment it is", async () => {
    const workstation = new DevWorkstation("bench", { platform, environment: "env", state: "stopped" });
    const snapshot = new Snapshot("bench", {
      environment: workstation.environment,
      store: "store",
      models: "locked",
      publish: "whenStopped",
    });

    const { inputs, parent, dependsOn } = await find("Snapshot", "bench");
    const { declarations: _, ...rest } = inputs;
    expect(parent).toBe("Snapshot bench");
    expect(dependsOn).toContain("Workstation bench");
    expect(rest).toEqual({
      owner,
      environment: { root: "env" },
      store: "store",
      models: "locked",
      publish: "whenStopped",
      workstation: { directory: ".comfyui", name: "bench", state: "stopped" },
      displayUrn: "urn:pulumi:stack::project::comfyui:index:Snapshot$pulumi-nodejs:dynamic/comfyui:Snapshot::bench",
    });
    expect(await valueIn(snapshot.reference)).toBe(`/store#sha256:${"b".repeat(64)}`);
  });

  test("a resource that depends on nothing when it is of a plain folder", async () => {
    new Snapshot("folder", { environment: "env", store: "store" });
    expect((await find("Snapshot", "folder")).dependsOn).toEqual([]);
  });
});

describe("a project declares", () => {
  let project: ComfyUIProject;
  beforeAll(() => {
    project = new ComfyUIProject("studio", {
      platform,
      environment: "studio",
      store: "store",
      scaling: fixed(2),
      workstation: { state: "stopped" },
      snapshot: { publish: "whenStopped" },
      service: { health: { stableFor: "1s" } },
    });
  });

  test("its three components under itself, each with its arguments", async () => {
    expect((await find("DevWorkstation", "studio", "comfyui:index")).parent).toBe("ComfyUIProject studio");
    expect((await find("OnlineService", "studio", "comfyui:index")).parent).toBe("ComfyUIProject studio");
    expect((await find("Workstation", "studio")).inputs.state).toBe("stopped");
    expect((await find("Snapshot", "studio")).inputs.publish).toBe("whenStopped");
    expect((await find("Instances", "studio")).inputs.count).toBe(2);
  });

  test("a release of the snapshot's reference, and the URN of its row with all parents' types", async () => {
    const { inputs } = await find("Release", "studio");
    expect(inputs.snapshot).toBe(`/store#sha256:${"b".repeat(64)}`);
    expect(inputs.health).toEqual({ stableFor: "1s" });
    expect(inputs.displayUrn).toBe(
      "urn:pulumi:stack::project::comfyui:index:ComfyUIProject$comfyui:index:OnlineService$pulumi-nodejs:dynamic/comfyui:Release::studio",
    );
  });

  test("a release of the pinned snapshot instead, when the service names one", async () => {
    const pin = `/store#sha256:${"c".repeat(64)}`;
    new ComfyUIProject("pinned", {
      platform,
      environment: "studio",
      store: "store",
      scaling: fixed(1),
      service: { snapshot: pin },
    });
    expect((await find("Release", "pinned")).inputs.snapshot).toBe(pin);
    expect(project.service).toBeDefined();
  });
});
