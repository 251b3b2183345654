import { writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { RbacAuthorizationV1Api } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cluster, podOf, waysIn } from "../../runtime/kubernetes";
import { waitFor } from "../../runtime/waiting";
import { giveToPods, makeClaim } from "../support/claim-folder";
import { compiledCommand } from "../support/cli-compiled";
import { onLab, unlessGone } from "../support/cluster";
import { ClusterServices } from "../support/cluster-service";
import { openSocket } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { OpenCommand } from "../support/open-command";
import { startProgram } from "../support/run-program";

/* A workstation and a service of one name, through the real engine, as a person with a kubeconfig reaches them. */

/** Milliseconds. */
const patience = 120_000;

let services: ClusterServices;
let options: readonly string[];

beforeAll(async () => {
  services = await ClusterServices.create("open");
  options = ["--namespace", services.cluster.namespace, "--kubeconfig", await kubeconfigOfPerson()];
  services.makeEnvironment({ painter: painter("service") });
  await services.publish();
  const folder = await makeClaim(services.cluster, "given");
  services.project.makeEnvironment({ painter: painter("workstation") }, folder, "/usr/bin/python3");
  giveToPods(folder);
  declare({ idleStop: "5s" });
  await services.project.mustUp();
});

afterAll(async () => {
  await services?.[Symbol.asyncDispose]();
});

/** The rights that docs/cli.md names. */
const rights = [
  { apiGroups: [""], resources: ["configmaps", "pods"], verbs: ["get", "list", "watch"] },
  { apiGroups: ["apps"], resources: ["deployments"], verbs: ["get"] },
  { apiGroups: ["apps"], resources: ["replicasets"], verbs: ["list", "watch"] },
  { apiGroups: [""], resources: ["pods/portforward"], verbs: ["get", "create"] },
  { apiGroups: ["apps"], resources: ["deployments/scale"], verbs: ["get", "update"] },
];

/** Of somebody who may do in the namespace what `open` needs, and no more. Returns its path. */
async function kubeconfigOfPerson(): Promise<string> {
  const { namespace, core, config } = services.cluster;
  const name = "person";
  const metadata = { name };
  const rbac = services.cluster.client(RbacAuthorizationV1Api);
  await core.createNamespacedServiceAccount({ namespace, body: { metadata } });
  await rbac.createNamespacedRole({ namespace, body: { metadata, rules: rights } });
  await rbac.createNamespacedRoleBinding({
    namespace,
    body: {
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
      subjects: [{ kind: "ServiceAccount", name, namespace }],
    },
  });
  const { status } = await core.createNamespacedServiceAccountToken({
    name,
    namespace,
    body: { spec: { audiences: [] } },
  });
  const { server, caData } = config.getCurrentCluster() ?? {};
  const path = join(services.project.folder, "person.kubeconfig");
  writeFileSync(
    path,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name, cluster: { server, "certificate-authority-data": caData } }],
      users: [{ name, user: { token: status?.token } }],
      contexts: [{ name, context: { cluster: name, user: name } }],
      "current-context": name,
    }),
  );
  return path;
}

function declare(workstation: object): void {
  services.declare([{ name: "studio", count: 1 }], {}, [
    { name: "studio", environment: { name: "given" }, startTimeout: "3m", stopTimeout: "2m", ...workstation },
  ]);
}

/** The pod that a new connection is led to. */
async function podBehind(cluster: Cluster, kind: "service" | "workstation"): Promise<string> {
  const way = (await waysIn(cluster, "studio")).find((one) => one.kind === kind);
  const pod = way === undefined ? null : await podOf(cluster, way);
  if (pod === null) throw new Error(`${kind} studio has no pod`);
  return pod;
}

/** An answer to a request on a connection of its own: one that is kept ends with its pod, which a client may notice late. */
function ask(url: string, path: string, body?: object): Promise<{ readonly status: number; readonly text: string }> {
  const [method, headers] = body === undefined ? ["GET", {}] : ["POST", { "content-type": "application/json" }];
  return new Promise((resolve, reject) => {
    const sent = request(url + path, { agent: false, method, headers, timeout: patience }, (response) => {
      text(response).then((said) => resolve({ status: response.statusCode ?? 0, text: said }), reject);
    });
    sent.once("timeout", () => sent.destroy(new Error(`no answer to ${method} ${path}`)));
    sent.once("error", reject);
    sent.end(body && JSON.stringify(body));
  });
}

/** Runs a workflow as ComfyUI's page does, and gives what it drew. */
async function paintThrough(url: string, nonce: string): Promise<string | undefined> {
  const client_id = `client-${nonce}`;
  const socket = await openSocket(url, client_id);
  try {
    const accepted = await ask(url, "/prompt", { prompt: paint(0, nonce), client_id });
    expect(accepted.status, accepted.text).toBe(200);
    const { prompt_id: id } = JSON.parse(accepted.text);
    await socket.until(`the end of ${id}`, ({ type, data }) => type === "execution_success" && data.prompt_id === id);
    return await waitFor({
      what: `prompt ${id} in the history`,
      deadline: patience,
      look: async () => {
        const entry = JSON.parse((await ask(url, `/history/${id}`)).text)[id];
        return entry && paintedBy(entry.outputs);
      },
    });
  } finally {
    await socket.close();
  }
}

async function isThere(pod: string): Promise<boolean> {
  const { core, namespace } = services.cluster;
  return (await core.readNamespacedPod({ name: pod, namespace }).catch(unlessGone)) !== undefined;
}

describe.runIf(onLab)("open --namespace", () => {
  it("leads to a service until Ctrl-C, also when the gateway that it led to is gone", async () => {
    const { core, namespace } = services.cluster;
    await using open = await OpenCommand.start("studio", ...options);
    const { url } = open;
    expect(await paintThrough(url, "first")).toBe("service");
    const socket = await openSocket(url, "person");

    const name = await podBehind(services.connection, "service");
    await core.deleteNamespacedPod({ name, namespace });
    while (await isThere(name)) expect((await ask(url, "/system_stats")).status).toBe(200);
    await socket.closed;
    expect(await paintThrough(url, "second")).toBe("service");

    const idle = await openSocket(url, "idle");
    expect(await open.interrupt()).toEqual({ code: 0, signal: null });
    await idle.closed;
    expect(open.stdout).toBe(`${url}\n`);
    await expect(fetch(url)).rejects.toThrow();
  });

  it("starts a workstation that has stopped itself, and leads to its next pod as well", async () => {
    const { core, apps, namespace } = services.cluster;
    const deployment = () => apps.readNamespacedDeployment({ name: "studio-workstation", namespace });
    await waitFor({
      what: "the workstation to stop itself",
      deadline: patience,
      look: async () => ((await deployment()).status?.replicas === undefined ? true : undefined),
    });
    declare({ idleStop: "10m" });
    await services.project.mustUp();
    expect((await deployment()).spec?.replicas).toBe(0);

    await using open = await OpenCommand.start("studio", "--workstation", ...options);
    const { url } = open;
    expect((await deployment()).spec?.replicas).toBe(1);
    expect(await paintThrough(url, "third")).toBe("workstation");

    const name = await podBehind(services.connection, "workstation");
    await core.deleteNamespacedPod({ name, namespace });
    const answers = new Set<number>();
    await waitFor({
      what: "the next pod to answer",
      deadline: patience,
      look: async () => {
        const { status } = await ask(url, "/system_stats");
        answers.add(status);
        return status === 200 && !(await isThere(name)) ? true : undefined;
      },
    });
    expect([200, 503]).toEqual(expect.arrayContaining([...answers]));
    expect(await paintThrough(url, "fourth")).toBe("workstation");

    declare({ idleStop: "10m", state: "stopped" });
    await services.project.mustUp();
    await expect(ask(url, "/system_stats")).rejects.toThrow();
    expect(await open.interrupt()).toEqual({ code: 0, signal: null });
    expect(open.output).toContain("workstation studio has no pod that runs: it has stopped; run open again");
  });

  it("does not start one that is declared stopped", async () => {
    const { apps, namespace } = services.cluster;
    const command = [compiledCommand(), "open", "studio", "--workstation", ...options];
    const { code, stdout, output } = await startProgram(process.execPath, command, {}).ended;
    expect([code, stdout]).toEqual([3, ""]);
    expect(output).toContain('it is stopped: declare it with state: "running", and run pulumi up');
    const { spec } = await apps.readNamespacedDeployment({ name: "studio-workstation", namespace });
    expect(spec?.replicas).toBe(0);
  });
});
