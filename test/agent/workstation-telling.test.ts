import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { fingerprintIn, idleStoppedAnnotation, type WorkstationFingerprint } from "../../runtime/deployment";
import type { EnvironmentLocation } from "../../runtime/environment";
import { scan } from "../../runtime/snapshot";
import { waitFor } from "../../runtime/waiting";
import { ApiServer } from "../support/api-server";
import { brokenPlugin, workingPlugin } from "../support/stand-in-plugins";
import { makeEnvironment, setPlugin } from "../support/supervisor-environment";
import { patience, queueWaiting } from "../support/supervisor-platform";
import { type Account, WorkstationPod, type WorkstationPodOptions } from "../support/workstation-pod";

// What a workstation's agent tells through a real API server, with the rights that the component gives it.

let folder: string;
let environment: EnvironmentLocation;
let pod: WorkstationPod;
let pods = 0;

/** A pod on a claim with the environment. */
async function makePod(options: WorkstationPodOptions = {}): Promise<void> {
  pods += 1;
  const root = join(folder, `pod-${pods}`);
  cpSync(environment.root, join(root, "claim"), { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  pod = await WorkstationPod.make(root, options);
}

const locationOf = ({ claim }: WorkstationPod): EnvironmentLocation => ({ ...environment, root: claim });

const namespace = "default";
let server: ApiServer;
let account: Account;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "workstation-telling-"));
  server = await ApiServer.start();
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  environment = makeEnvironment(join(folder, "studio"), { working: workingPlugin, broken: brokenPlugin });
  const { api } = server;
  const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
  const core = `/api/v1/namespaces/${namespace}`;
  await api.request({ method: "POST", path: `${core}/serviceaccounts`, body: { metadata: { name: "agent" } } });
  // As the component declares it.
  const rules = [
    { apiGroups: [""], resources: ["configmaps"], resourceNames: ["studio-workstation"], verbs: ["get", "patch"] },
    { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
    {
      ...{ apiGroups: ["apps"], resources: ["deployments/scale"], verbs: ["get", "patch"] },
      resourceNames: ["studio-workstation"],
    },
  ];
  await api.request({ method: "POST", path: `${rbac}/roles`, body: { metadata: { name: "agent" }, rules } });
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "agent" };
  const subjects = [{ kind: "ServiceAccount", name: "agent", namespace }];
  await api.request({
    ...{ method: "POST", path: `${rbac}/rolebindings` },
    body: { metadata: { name: "agent" }, roleRef, subjects },
  });
  const { status } = (await api.request({
    ...{ method: "POST", path: `${core}/serviceaccounts/agent/token` },
    body: { spec: { expirationSeconds: 3600 } },
  })) as { status: { token: string } };
  const accountFolder = join(folder, "account");
  mkdirSync(accountFolder);
  const { clusters } = JSON.parse(readFileSync(server.kubeconfig("admin"), "utf8"));
  const authority = clusters[0].cluster["certificate-authority-data"];
  writeFileSync(join(accountFolder, "ca.crt"), Buffer.from(authority, "base64"));
  writeFileSync(join(accountFolder, "token"), status.token);
  writeFileSync(join(accountFolder, "namespace"), namespace);
  account = { folder: accountFolder, port: server.port };
});
afterAll(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await pod.remove();
  await remove(`/api/v1/namespaces/${namespace}/configmaps/studio-workstation`);
});

async function remove(path: string): Promise<void> {
  const { api } = server;
  await api.request({ method: "DELETE", path }).catch(() => undefined);
}

async function told(): Promise<{ data: Record<string, string>; metadata: { annotations?: Record<string, string> } }> {
  const path = `/api/v1/namespaces/${namespace}/configmaps/studio-workstation`;
  return (await server.api.request({ path })) as Awaited<ReturnType<typeof told>>;
}

function untilTold(what: string, condition: (fingerprint: WorkstationFingerprint) => boolean) {
  let seen: WorkstationFingerprint | null = null;
  return waitFor({
    what: `the fingerprint: ${what}`,
    deadline: patience,
    interval: 50,
    look: async () => {
      seen = await told().then(
        ({ data }) => fingerprintIn(data),
        () => null,
      );
      return seen !== null && condition(seen) ? seen : undefined;
    },
    seen: () => JSON.stringify(seen),
  });
}

it("is what the claim holds, and how its plugins behave; also once it has been changed", async () => {
  await makePod();
  await pod.start(account);
  const before = await untilTold("with its plugins", ({ plugins }) => plugins !== null);
  const { summary, pluginHashes } = await scan({ environment: locationOf(pod), models: "referenced" });
  expect(before).toMatchObject({ models: "referenced", summary, pluginHashes, running: true, problem: null });
  expect(before.plugins?.map(({ name, state, contentHash }) => [name, state, contentHash])).toEqual([
    ["broken", "failed", pluginHashes.broken],
    ["working", "loaded", pluginHashes.working],
  ]);

  setPlugin(locationOf(pod), "added", workingPlugin);

  const after = await untilTold("with the plugin", (found) => "added" in found.pluginHashes);
  expect(after.summary.id).not.toBe(before.summary.id);
  // Nothing is known of how it behaves.
  expect(after.plugins).toEqual(before.plugins);
  const { data, metadata } = await told();
  expect(JSON.parse(data["status.json"] ?? "")).toMatchObject({ phase: "running", workstation: "studio" });
  expect(metadata.annotations).toEqual({ "pulumi-comfyui/owner": "acme/studio/dev" });
});

it("is what the claim holds at the end, and stays so", async () => {
  await makePod();
  const { agent, comfyui } = await pod.start(account);
  const { at } = await untilTold("with its plugins", ({ plugins }) => plugins !== null);
  comfyui.signal("SIGTERM");
  await comfyui.ended;
  setPlugin(locationOf(pod), "last", workingPlugin);
  agent.signal("SIGTERM");
  expect((await agent.ended).code).toBe(0);

  const last = fingerprintIn((await told()).data);
  expect(last).toMatchObject({ running: false, scanning: false, problem: null });
  expect(last?.pluginHashes).toHaveProperty("last");
  expect(last?.plugins).toHaveLength(2);
  expect(Date.parse(last?.at ?? "")).toBeGreaterThan(Date.parse(at));
});

it("waits for an API server that is away", async () => {
  await makePod();
  await server.killApiServer();
  try {
    await pod.start(account);
  } finally {
    await server.startApiServer();
  }
  await untilTold("told at last", ({ running }) => running);
});

it("stops itself by its Deployment's count once nobody uses it, and says so", async () => {
  const apps = `/apis/apps/v1/namespaces/${namespace}/deployments`;
  const labels = { app: "studio" };
  const spec = {
    replicas: 1,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [{ name: "comfyui", image: "none" }] } },
  };
  const body = { metadata: { name: "studio-workstation" }, spec };
  await server.api.request({ method: "POST", path: apps, body });
  const replicas = async () => {
    const found = await server.api.request({ path: `${apps}/studio-workstation` });
    return (found as { spec: { replicas: number } }).spec.replicas;
  };
  try {
    await makePod({ spec: { idleStop: 3_000 } });
    await pod.start(account);
    const go = join(folder, `go-${pods}`);
    await queueWaiting(pod.url, go);
    const used = performance.now();
    // Longer than that, with a prompt and without a request.
    await waitFor({
      what: "idleStop to have passed",
      deadline: patience,
      look: () => (performance.now() - used > 5_000 ? true : undefined),
    });
    expect(await replicas()).toBe(1);
    expect((await told()).metadata.annotations).not.toHaveProperty([idleStoppedAnnotation]);

    writeFileSync(go, "");

    await waitFor({
      what: "the count to be 0",
      deadline: patience,
      look: async () => ((await replicas()) === 0 ? true : undefined),
    });
    const since = (await told()).metadata.annotations?.[idleStoppedAnnotation] ?? "";
    expect(Date.parse(since)).toBeGreaterThan(0);
  } finally {
    await remove(`${apps}/studio-workstation`);
  }
});
