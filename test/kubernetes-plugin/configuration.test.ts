import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { activeCluster, configurationFrom } from "../support/kubernetes-plugin/configuration";

const content = (token: string) =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: "near", cluster: { server: "https://near.test" } },
      { name: "far", cluster: { server: "https://far.test" } },
    ],
    users: [{ name: "me", user: { token } }],
    contexts: [
      { name: "near", context: { cluster: "near", user: "me", namespace: "studio" } },
      { name: "far", context: { cluster: "far", user: "me" } },
      { name: "broken", context: { cluster: "none", user: "me" } },
    ],
    "current-context": "near",
  });

const settings = (values: Readonly<Record<string, string>>) => (name: string) => values[name];

let folder: string;
let path: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pulumi-comfyui-kubeconfig-"));
  path = join(folder, "kubeconfig");
  writeFileSync(path, content("one"));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe("the provider's configuration", () => {
  it("takes a kubeconfig as path or content, and the namespace of its context unless it names one", () => {
    for (const kubeconfig of [path, content("one")]) {
      const { kubeConfig, namespace, unreachable } = configurationFrom(settings({ kubeconfig }), {});
      expect(unreachable).toBeUndefined();
      expect(kubeConfig?.getCurrentCluster()?.server).toBe("https://near.test");
      expect(namespace).toBe("studio");
    }
    expect(configurationFrom(settings({ kubeconfig: path, context: "far" }), {}).namespace).toBe("default");
    expect(configurationFrom(settings({ kubeconfig: path, namespace: "mine" }), {}).namespace).toBe("mine");
  });

  it.each([
    [{ context: "missing" }, 'context "missing" does not exist'],
    [{ context: "broken" }, 'cluster "none" does not exist'],
    [{ cluster: "missing" }, 'cluster "missing" does not exist'],
    [{ kubeconfig: "/there/is/no/such/file" }, "failed to parse kubeconfig data"],
  ])("says of %j why no cluster can be reached", (values, reason) => {
    expect(configurationFrom(settings({ kubeconfig: path, ...values }), {}).unreachable).toContain(reason);
  });

  it("prefers its own settings to environment variables, and these to the standard", () => {
    const variable = { PULUMI_K8S_UPSERT_EXISTING_OBJECTS: "true" };
    const kubeconfig = path;

    expect(configurationFrom(settings({ kubeconfig }), {}).upsertExistingObjects).toBe(false);
    expect(configurationFrom(settings({ kubeconfig }), variable).upsertExistingObjects).toBe(true);
    expect(
      configurationFrom(settings({ kubeconfig, upsertExistingObjects: "false" }), variable).upsertExistingObjects,
    ).toBe(false);
    expect(configurationFrom(settings({ kubeconfig }), {}).serverSideApply).toBe(true);
  });

  it("takes another token for the same cluster, and another context for another one", () => {
    expect(activeCluster(settings({ kubeconfig: content("one") }))).toBe(
      activeCluster(settings({ kubeconfig: content("two") })),
    );
    expect(activeCluster(settings({ kubeconfig: path }))).not.toBe(
      activeCluster(settings({ kubeconfig: path, context: "far" })),
    );
  });
});
