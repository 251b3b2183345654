import { afterAll, beforeAll, expect, test } from "vitest";
import { CountingProxy } from "../../bench/cluster/counting-proxy";
import { ManyPods } from "../../bench/cluster/many-pods";
import { podSettings } from "../../providers/declarations/pod";
import { connectCluster, ServiceRecords, UnhealthyError, untilProven } from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";

const namespace = "default";
const service = "studio";
const release = "r1-abcde";

let server: ApiServer;
let proxy: CountingProxy;

beforeAll(async () => {
  server = await ApiServer.start();
  proxy = await CountingProxy.before(server.kubeconfig("admin"));
}, 180_000);

afterAll(async () => {
  proxy?.close();
  await server?.stop();
});

/** A gate over the pods, reached through the proxy. */
async function gate(pods: ManyPods, count: number, progress: string[]): Promise<void> {
  proxy.requests.length = 0;
  const cluster = await connectCluster({ kubeconfig: proxy.kubeconfig, namespace });
  await untilProven(new ServiceRecords(cluster, service), {
    release,
    deployment: pods.deployment,
    count,
    settings: podSettings({ image: "registry.example.com/comfyui" }, {}),
    timeout: 120_000,
    warn: (text) => progress.push(text),
    progress: (text) => progress.push(text),
    signal: new AbortController().signal,
  });
}

test("a gate over many instances tells how many are proven, and asks for none of them", async () => {
  const count = 40;
  const pods = new ManyPods({ api: server.api, namespace, service, release, count });
  await pods.declare();
  const progress: string[] = [];

  await Promise.all([gate(pods, count, progress), pods.start(2_000)]);

  expect(progress.at(-1)).toBe("40 of 40 proven");
  const asked = proxy.requests.map(({ what }) => what);
  expect(asked.filter((what) => !what.startsWith("watch "))).toEqual(["list replicasets", "list pods"]);

  // One fault in all of them, as a plugin or a snapshot makes it.
  for (const name of pods.names) await fail(name, "the plugin painter cannot be loaded");
  const failure = await gate(pods, count, progress).catch((error: unknown) => error);

  expect(failure).toBeInstanceOf(UnhealthyError);
  const { message, evidence } = failure as UnhealthyError;
  expect(message).toContain("evidence of 5 of the 40 that are not proven follows");
  expect(message).toContain("the plugin painter cannot be loaded");
  expect(evidence).toHaveLength(5);
  const events = proxy.requests.filter(({ what }) => what === "list events");
  expect(events).toHaveLength(5);
});

async function fail(pod: string, reason: string): Promise<void> {
  const terminated = { exitCode: 70, message: JSON.stringify({ phase: "booting", reason }) };
  const status = { initContainerStatuses: [{ name: "agent", lastState: { terminated } }] };
  await server.api.request({
    method: "PATCH",
    path: `/api/v1/namespaces/${namespace}/pods/${pod}/status`,
    contentType: "application/strategic-merge-patch+json",
    body: { status },
  });
}
