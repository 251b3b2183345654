import { createHash } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { hashes } from "../../components/api-keys";
import { fixed, local, OnlineService } from "../../index";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations, secret, valueIn } from "../support/recording-mocks";

const recording = recordDeclarations({ Gateway: { url: "http://127.0.0.1:20001" }, Release: { revision: 1 } });

const owner = { organization: "organization", project: "project", stack: "stack" };
const address = { directory: ".comfyui", service: "studio" };
const component = "OnlineService studio";

function displayUrn(type: string): string {
  return `urn:pulumi:stack::project::comfyui:index:OnlineService$pulumi-nodejs:dynamic/comfyui:${type}::studio`;
}

describe("an online service declares", () => {
  let url = "";
  let release = "";

  beforeAll(async () => {
    const service = new OnlineService("studio", {
      platform: local({ directory: ".comfyui" }),
      snapshot: `/store#sha256:${"a".repeat(64)}`,
      scaling: fixed(3),
      models: "models",
      arguments: ["--fp16-vae"],
      environmentVariables: { HF_HOME: "/hub" },
      health: { timeout: "4m", stableFor: "2s", smoke: "smoke.json", acceptFailing: ["old"] },
      drain: { deadline: "1h", onDeadline: "stop" },
      gateway: { port: 8080, apiKeys: ["0123456789abcdef"], maximumBodySize: "50 MiB" },
      takeover: true,
    });
    url = await valueIn(service.url);
    release = await valueIn(service.release);
    await waitFor({
      what: "the switch, the last to be asked for, since it waits for the gate",
      deadline: 10_000,
      look: () => recording.declared.find(({ type }) => type.endsWith(":TrafficSwitch")),
    });
  });

  test("one component with six children, and nothing else", () => {
    expect(recording.declared.map(({ type, parent }) => [type, parent]).sort()).toEqual([
      ["comfyui:index:OnlineService", null],
      ["pulumi-nodejs:dynamic/comfyui:Gateway", component],
      ["pulumi-nodejs:dynamic/comfyui:HealthGate", component],
      ["pulumi-nodejs:dynamic/comfyui:Instances", component],
      ["pulumi-nodejs:dynamic/comfyui:Release", component],
      ["pulumi-nodejs:dynamic/comfyui:ServiceClaim", component],
      ["pulumi-nodejs:dynamic/comfyui:TrafficSwitch", component],
    ]);
  });

  test("a claim that depends on nothing and carries all plain values, without the API keys", () => {
    const { inputs, dependsOn } = recording.find("ServiceClaim", "studio");
    expect(dependsOn).toEqual([]);
    const { declarations, ...rest } = inputs;
    expect(rest).toEqual({
      ...address,
      owner,
      takeover: true,
      drain: { deadline: "1h", onDeadline: "stop" },
      displayUrn: displayUrn("ServiceClaim"),
    });
    expect(declarations).toEqual([
      {
        kind: "OnlineService",
        name: "studio",
        arguments: {
          platform: { kind: "local", directory: ".comfyui" },
          snapshot: `/store#sha256:${"a".repeat(64)}`,
          scaling: { kind: "fixed", count: 3 },
          models: "models",
          arguments: ["--fp16-vae"],
          environmentVariables: { HF_HOME: "/hub" },
          health: { timeout: "4m", stableFor: "2s", smoke: "smoke.json", acceptFailing: ["old"] },
          drain: { deadline: "1h", onDeadline: "stop" },
          gateway: { port: 8080, apiKeys: "declared", maximumBodySize: "50 MiB" },
          takeover: true,
        },
      },
    ]);
  });

  test("a gateway that knows only hashes of the API keys, as a secret", () => {
    const { inputs, dependsOn } = recording.find("Gateway", "studio");
    expect(dependsOn).toEqual(["ServiceClaim studio"]);
    expect(inputs).toEqual({
      ...address,
      owner,
      port: 8080,
      apiKeyHashes: secret([createHash("sha256").update("0123456789abcdef").digest("hex")]),
      maximumBodySize: "50 MiB",
      resultRetention: "1h",
      maximumSpoolSize: "10 GiB",
      displayUrn: displayUrn("Gateway"),
    });
    expect(JSON.stringify(inputs)).not.toContain("0123456789abcdef");
  });

  test("a release with everything that instances start with", () => {
    const { inputs, dependsOn } = recording.find("Release", "studio");
    expect(dependsOn).toEqual(["ServiceClaim studio"]);
    expect(inputs).toEqual({
      ...address,
      owner,
      snapshot: `/store#sha256:${"a".repeat(64)}`,
      models: "models",
      arguments: ["--fp16-vae"],
      environmentVariables: { HF_HOME: "/hub" },
      health: { stableFor: "2s", smoke: "smoke.json", acceptFailing: ["old"] },
      displayUrn: displayUrn("Release"),
    });
  });

  test("instances, a gate and a switch, each of them named by the release's id and after what it needs", () => {
    const id = "Release-studio-id";
    expect(release).toBe(id);
    expect(recording.find("Instances", "studio")).toMatchObject({
      inputs: { ...address, release: id, count: 3, displayUrn: displayUrn("Instances") },
      dependsOn: ["Release studio"],
    });
    expect(recording.find("HealthGate", "studio")).toMatchObject({
      inputs: { ...address, release: id, count: 3, timeout: "4m", displayUrn: displayUrn("HealthGate") },
      dependsOn: ["Gateway studio", "Instances studio", "Release studio"],
    });
    expect(recording.find("TrafficSwitch", "studio")).toMatchObject({
      inputs: { ...address, owner, release: id, displayUrn: displayUrn("TrafficSwitch") },
      dependsOn: ["Gateway studio", "HealthGate studio", "Release studio"],
    });
  });

  test("what a rotation replaces as unprotected, also under a protected parent; the rest as its parent says", async () => {
    new OnlineService(
      "guarded",
      { platform: local({ directory: ".comfyui" }), snapshot: `/store#sha256:${"a".repeat(64)}`, scaling: fixed(1) },
      { protect: true },
    );
    await waitFor({
      what: "the switch of the protected service",
      deadline: 10_000,
      look: () => recording.declared.find(({ type, name }) => type.endsWith(":TrafficSwitch") && name === "guarded"),
    });
    const protection = (type: string) => recording.find(type, "guarded").protect;
    expect(["Release", "Instances", "HealthGate"].map(protection)).toEqual([false, false, false]);
    expect(["OnlineService", "ServiceClaim", "Gateway", "TrafficSwitch"].map(protection)).toEqual(
      Array.from({ length: 4 }, () => true),
    );
  });

  test("no gateway with an empty list of keys, which would let everybody in", () => {
    expect(() => hashes([])).toThrow("gateway.apiKeys has no key");
  });

  test("the gateway's address as its own", () => {
    expect(url).toBe("http://127.0.0.1:20001");
  });
});
