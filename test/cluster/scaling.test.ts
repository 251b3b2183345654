import { afterAll, beforeAll, expect, test } from "vitest";
import type { GatewayStatus } from "../../runtime/gateway/targets";
import { deployerTokenHeader } from "../../runtime/gateway/targets";
import { waitFor } from "../../runtime/waiting";
import { ClusterServices } from "../support/cluster-service";
import { finished, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter, paintUntil } from "../support/engine-plugins";
import { ExternalMetrics } from "../support/external-metrics";
import { startTraffic } from "../support/traffic";

let services: ClusterServices;
let metrics: ExternalMetrics | undefined;

beforeAll(async () => {
  services = await ClusterServices.create("scaling", { gpus: 12 });
  services.makeEnvironment({ painter: painter("0") });
  await services.publish();
});

afterAll(async () => {
  await metrics?.[Symbol.asyncDispose]();
  await services?.[Symbol.asyncDispose]();
});

const metric = "comfyui_gateway_queue";
const by = { kind: "externalMetric", name: metric, target: 2 };
const range = { kind: "range", min: 1, max: 4, by, scaleInAfter: "10s" };
const declaration = { name: "studio", count: 1, scaling: range };

/** What an adapter would have from a Prometheus that scrapes the gateway. */
async function queueOf({ release = "" }: Readonly<Record<string, string>>): Promise<number | undefined> {
  const response = await fetch(`${await services.url()}/_gateway/queue`);
  const { prompts } = (await response.json()) as { readonly prompts: Readonly<Record<string, number>> };
  return prompts[release];
}

/** Waits until so many instances are there, all of one release, and proven. */
function untilInstances(what: string, fits: (count: number) => boolean, deadline = 120_000) {
  let seen = "";
  return waitFor({
    what,
    deadline,
    interval: 500,
    seen: () => seen,
    look: async () => {
      const instances = await services.instances();
      seen = instances.map(({ pod, phase }) => `${pod.metadata?.name} ${phase}`).join(", ");
      const settled = instances.every(({ phase }) => phase === "proven") && fits(instances.length);
      return settled ? instances : undefined;
    },
  });
}

/** The release that state knows, and with how many instances it started. */
async function declaredRelease(): Promise<{ readonly id: string; readonly startCount: number }> {
  const { resources } = (await services.project.state()).deployment;
  const { outputs, ...release } = resources.find(({ urn }) => urn.includes(":ClusterRelease::studio")) ?? {};
  return { id: (release as { readonly id?: string }).id ?? "", startCount: Number(outputs?.startCount) };
}

/** The pod of the only instance that has a prompt: of another's last one the gateway may not have heard the end yet. */
async function busyPod(): Promise<string> {
  let seen = "";
  return waitFor({
    what: "one instance alone to have a prompt",
    deadline: 30_000,
    seen: () => seen,
    look: async () => {
      const headers = { [deployerTokenHeader]: await services.records().deployerToken() };
      const response = await fetch(`${await services.url()}/_gateway/status`, { headers });
      const { instances } = (await response.json()) as GatewayStatus;
      seen = JSON.stringify(instances);
      const [busy, ...others] = instances.filter(({ queueRemaining }) => queueRemaining !== 0);
      return busy !== undefined && others.length === 0 ? `studio-${busy.id.replace("/", "-")}` : undefined;
    },
  });
}

test("preview refuses an autoscaler whose metrics nothing in the cluster serves", async () => {
  services.declare([declaration]);
  const external = await services.project.preview();
  expect(external.code).not.toBe(0);
  expect(external.output).toContain("scaling.by: no adapter in the cluster serves external metrics");
  services.declare([{ ...declaration, scaling: { ...range, by: { kind: "keda" } } }]);
  const keda = await services.project.preview();
  expect(keda.code).not.toBe(0);
  expect(keda.output).toContain("scaling.by: KEDA is not in the cluster: its API server has no group keda.sh");
});

test("instances follow the queue, a rotation starts with as many, and those that go are idle ones", async () => {
  const { project, cluster } = services;
  metrics = await ExternalMetrics.start(cluster, metric, queueOf);
  services.declare([declaration]);
  await project.mustUp();
  expect((await services.instances()).map(({ phase }) => phase)).toEqual(["proven"]);
  expect((await declaredRelease()).startCount).toBe(1);

  // Six prompts at any time, two for each instance: three instances.
  const url = await services.url();
  const traffic = startTraffic({
    url,
    clients: 6,
    workflow: (client, prompt) => paint(0.6, `${client}-${prompt}`),
    versionIn: paintedBy,
    patience: 180_000,
  });
  const scaled = await untilInstances("more than two instances", (count) => count >= 3);

  // Nothing has changed: an autoscaler's count is no difference.
  const again = await project.preview("--expect-no-changes");
  expect(again.code, again.output).toBe(0);

  const before = (await services.deployments())[0]?.spec?.replicas ?? 0;
  expect(before).toBeGreaterThanOrEqual(3);
  const rotated = await services.rotate({ painter: painter("1") });
  const release = await declaredRelease();
  expect(release.startCount, rotated.output).toBeGreaterThanOrEqual(3);
  expect(release.startCount).toBeLessThanOrEqual(4);
  expect((await services.deployments()).map(({ metadata }) => metadata?.name)).toEqual([`studio-${release.id}`]);
  expect(scaled.some(({ release: old }) => old === release.id)).toBe(false);
  const autoscaler = await services.connection.autoscaling.readNamespacedHorizontalPodAutoscaler({
    name: `studio-${release.id}`,
    namespace: cluster.namespace,
  });
  expect(autoscaler.spec?.scaleTargetRef.name).toBe(`studio-${release.id}`);

  // One that has to go on for long, on one of the instances, while the others become idle.
  await untilInstances("more than two instances of the new release", (count) => count >= 3);
  const file = "/comfyui/own/done";
  const long = await submit(url, paintUntil(file), { client_id: "long" });
  const seen = await traffic.stop();
  expect(seen.complaints).toEqual([]);
  expect([...seen.versions].sort()).toEqual(["0", "1"]);
  const busy = await busyPod();
  const left = await untilInstances("one instance", (count) => count === 1);
  expect(left.map(({ pod }) => pod.metadata?.name)).toEqual([busy]);
  expect(
    (await cluster.exec(busy, ["/usr/bin/python3", "-c", `open(${JSON.stringify(file)}, "w")`], "comfyui")).code,
  ).toBe(0);
  expect(await finished(url, long)).toMatchObject({ status: { status_str: "success" } });

  // A count that is declared is kept: the autoscaler goes before it is changed.
  services.declare([{ ...declaration, scaling: { kind: "fixed", count: 2 } }]);
  await project.mustUp();
  expect((await services.instances()).map(({ phase }) => phase)).toEqual(["proven", "proven"]);
  expect((await services.objects()).filter((name) => name.startsWith("horizontalpodautoscaler/"))).toEqual([]);
  expect((await declaredRelease()).id).toBe(release.id);

  const destroyed = await project.destroy();
  expect(destroyed.code, destroyed.output).toBe(0);
  expect(await services.objects()).toEqual([]);
}, 900_000);
