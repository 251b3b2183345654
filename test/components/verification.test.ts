import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, test } from "vitest";
import { commandLine } from "../../components/verification";
import { fixed, kubernetes, local, OnlineService, type OnlineServiceArgs } from "../../index";
import { podSettings } from "../../providers/declarations/pod";
import { waitFor } from "../../runtime/waiting";
import { recordDeclarations, secret } from "../support/recording-mocks";

const settings = podSettings({ image: "registry/comfyui:1", tolerations: [] }, {});

const recording = recordDeclarations({
  Gateway: { url: "http://127.0.0.1:20001" },
  Release: { revision: 1 },
  ClusterServiceClaim: { since: "then", programs: "programs" },
  ClusterRelease: { revision: 1, settings, instance: "{}", programs: "programs", grace: 1, startCount: 1 },
  Deployment: { metadata: { uid: "uid-of-deployment" } },
});

const cli = resolve(__dirname, "../../dist/runtime/cli/main.js");
const kubeconfig = "apiVersion: v1\nkind: Config\n";

async function declared(name: string, args: Partial<OnlineServiceArgs>) {
  new OnlineService(name, {
    platform: local({ directory: ".comfyui" }),
    snapshot: `s3://bucket/prefix#sha256:${"a".repeat(64)}`,
    scaling: fixed(1),
    ...args,
  });
  await waitFor({
    what: "the switch, the last to be asked for",
    deadline: 10_000,
    look: () => recording.declared.find((each) => each.type.endsWith("TrafficSwitch") && each.name === name),
  });
}

describe("a service with a script that its releases have to pass declares", () => {
  beforeAll(async () => {
    await declared("here", {
      verify: {
        command: "./accept.sh 'it is'",
        timeout: "90s",
        environmentVariables: { PLAIN: "text", PASSWORD: pulumi.secret("open sesame") },
        workingDirectory: "tests",
      },
    });
    await declared("cluster", {
      platform: kubernetes({ context: "prod", kubeconfig: "kube/config", namespace: "studio", pod: { image: "a:1" } }),
      verify: { command: "pytest" },
    });
    await declared("content", {
      platform: kubernetes({ kubeconfig, namespace: "studio", pod: { image: "a:1" } }),
      verify: { command: "pytest" },
    });
    await declared("output", {
      platform: kubernetes({ kubeconfig: pulumi.output("kube/config"), namespace: "studio", pod: { image: "a:1" } }),
      verify: { command: "pytest" },
    });
    await declared("none", {});
  });

  const place = (name: string) => ({ parent: `OnlineService ${name}`, protect: false, ignoreChanges: [], aliases: 0 });

  test("a Command of the release that runs the script by pulumi-comfyui, and nothing else", () => {
    const { inputs, ...rest } = recording.find("Command", "here");
    expect(rest).toEqual({
      ...place("here"),
      type: "command:local:Command",
      name: "here",
      dependsOn: ["Gateway here", "HealthGate here", "Release here"],
      propertyDependencies: { create: ["Release here"], triggers: ["Release here"] },
      provider: "",
    });
    expect(inputs).toEqual({
      create: `exec node ${cli} with-candidate here --release Release-here-id --acceptance --timeout 90s --directory .comfyui --working-directory tests -- sh -c './accept.sh '\\''it is'\\'''`,
      environment: { PULUMI_COMFYUI_SET_PLAIN: "text", PULUMI_COMFYUI_SET_PASSWORD: secret("open sesame") },
      triggers: ["Release-here-id"],
      addPreviousOutputInEnv: false,
    });
  });

  test("that says on Kubernetes where the cluster is", () => {
    const { inputs, ...rest } = recording.find("Command", "cluster");
    expect(rest).toMatchObject({ ...place("cluster"), type: "command:local:Command" });
    expect(rest.dependsOn).toEqual([
      "ClusterHealthGate cluster",
      "ClusterRelease cluster",
      "Deployment cluster-gateway",
      "PodDisruptionBudget cluster-gateway",
      "Service cluster-gateway",
    ]);
    expect(inputs).toEqual({
      create: `exec node ${cli} with-candidate cluster --release ClusterRelease-cluster-id --acceptance --timeout 15m --namespace studio --context prod --kubeconfig kube/config -- sh -c pytest`,
      environment: {},
      triggers: ["ClusterRelease-cluster-id"],
      addPreviousOutputInEnv: false,
    });
  });

  test("with a kubeconfig's content as a secret, and not on the command line", () => {
    const { inputs } = recording.find("Command", "content");
    expect(inputs).toEqual({
      create: `exec node ${cli} with-candidate content --release ClusterRelease-content-id --acceptance --timeout 15m --namespace studio -- sh -c pytest`,
      environment: { PULUMI_COMFYUI_KUBECONFIG: secret(kubeconfig) },
      triggers: ["ClusterRelease-content-id"],
      addPreviousOutputInEnv: false,
    });
  });

  test("with a kubeconfig that is an output, whichever it turns out to be, and not on the command line", () => {
    const { create, environment } = recording.find("Command", "output").inputs;
    expect(create).toMatch(/ --namespace studio -- sh -c pytest$/);
    expect(environment).toEqual({ PULUMI_COMFYUI_KUBECONFIG: "kube/config" });
  });

  test("for which the switch waits; without a script there is none", () => {
    expect(recording.find("TrafficSwitch", "here").dependsOn).toContain("Command here");
    expect(recording.find("ClusterTrafficSwitch", "cluster").dependsOn).toContain("Command cluster");
    expect(() => recording.find("Command", "none")).toThrow("was not declared");
    expect(recording.find("TrafficSwitch", "none").dependsOn).toEqual([
      "Gateway none",
      "HealthGate none",
      "Release none",
    ]);
  });
});

test("a script reaches sh as it was written", () => {
  const command = `printf '%s|' "$0" 'a b' "c\\"d" $(echo e)\n# done`;
  const line = commandLine({
    service: "studio",
    release: "r1-abcde",
    platform: local({ directory: "a folder" }),
    verify: { command },
  });
  // In place of node, something that shows what it is given.
  const shown = execFileSync("/bin/sh", ["-c", line.replace("exec node", `exec printf '%s\\n'`)], { encoding: "utf8" });
  const [, given = ""] = shown.split("\n--\n");
  expect(shown).toContain("\na folder\n");
  expect(given).toBe(`sh\n-c\n${command}\n`);
});
