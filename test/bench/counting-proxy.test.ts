import { afterAll, beforeAll, expect, test } from "vitest";
import { CountingProxy, requestKind } from "../../bench/cluster/counting-proxy";
import { connectCluster } from "../../runtime/kubernetes";
import { KubernetesApi } from "../../runtime/kubernetes/api";
import { ApiServer } from "../support/api-server";

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

test("requests are told by what they do to which resource", () => {
  const kinds = [
    ["GET", "/api/v1/namespaces/studio/pods?labelSelector=a%3Db", "list pods"],
    ["GET", "/api/v1/namespaces/studio/pods?watch=true", "watch pods"],
    ["GET", "/api/v1/namespaces/studio/configmaps/record", "get configmaps"],
    ["PUT", "/apis/apps/v1/namespaces/studio/deployments/studio/scale", "put deployments/scale"],
    ["GET", "/api/v1/nodes/node-1", "get nodes"],
    ["GET", "/api/v1/nodes", "list nodes"],
    ["GET", "/api/v1/namespaces/studio", "get namespaces"],
  ] as const;

  expect(kinds.map(([method, url]) => requestKind(method, url))).toEqual(kinds.map(([, , kind]) => kind));
});

test("both clients reach the API server through it, and each of their requests is counted with its bytes", async () => {
  const cluster = await connectCluster({ kubeconfig: proxy.kubeconfig, namespace: "default" });
  proxy.requests.length = 0;

  await cluster.core.createNamespacedConfigMap({
    namespace: "default",
    body: { metadata: { name: "seen" }, data: { key: "value" } },
  });
  const answer = await new KubernetesApi(cluster.config).request({
    path: "/api/v1/namespaces/default/configmaps/seen",
  });

  expect(answer).toMatchObject({ data: { key: "value" } });
  expect(proxy.requests.map(({ what }) => what)).toEqual(["post configmaps", "get configmaps"]);
  expect(proxy.requests.at(-1)?.bytes).toBe(Buffer.byteLength(`${JSON.stringify(answer)}\n`));
});

test("a watch through it is open before anything happens, and tells what happens then", async () => {
  const cluster = await connectCluster({ kubeconfig: proxy.kubeconfig, namespace: "default" });
  const api = new KubernetesApi(cluster.config);
  const path = "/api/v1/namespaces/default/configmaps";
  const { metadata } = (await api.request({ path })) as { metadata: { resourceVersion: string } };
  const stop = new AbortController();
  const query = { resourceVersion: metadata.resourceVersion, fieldSelector: "metadata.name=later" };
  const events = api.watch(path, query, 60_000, stop.signal);
  const first = events.next();

  await api.request({ method: "POST", path, body: { metadata: { name: "later" } } });

  expect((await first).value).toMatchObject({ type: "ADDED", object: { metadata: { name: "later" } } });
  await events.return(undefined);
  stop.abort();
});
