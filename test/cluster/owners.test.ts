import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ClusterServices } from "../support/cluster-service";
import { finished, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { startTraffic } from "../support/traffic";

let services: ClusterServices;

beforeAll(async () => {
  services = await ClusterServices.create("owners");
  services.makeEnvironment({ painter: painter("0") });
  await services.publish();
});

afterAll(async () => {
  await services?.[Symbol.asyncDispose]();
});

async function draws(service: string): Promise<string | undefined> {
  const url = await services.url(service);
  return paintedBy((await finished(url, await submit(url, paint(0, `${Math.random()}`)))).outputs);
}

test("a service's rotation and removal leave its neighbour in the namespace alone", async () => {
  const { project } = services;
  services.declare([
    { name: "studio", count: 1 },
    { name: "neighbour", count: 1 },
  ]);
  await project.mustUp();
  const before = await services.instances("neighbour");
  const traffic = startTraffic({
    url: await services.url("neighbour"),
    clients: 3,
    workflow: (client, prompt) => paint(0.3, `${client}-${prompt}`),
    versionIn: paintedBy,
  });
  services.declare([
    { name: "studio", count: 2, arguments: ["--verbose"] },
    { name: "neighbour", count: 1 },
  ]);
  await project.mustUp();
  services.declare([{ name: "neighbour", count: 1 }]);
  await project.mustUp();
  const { complaints, finished: prompts } = await traffic.stop();
  expect(complaints).toEqual([]);
  expect(prompts).toBeGreaterThan(10);
  const uids = (seen: typeof before) => seen.map(({ pod }) => pod.metadata?.uid);
  expect(uids(await services.instances("neighbour"))).toEqual(uids(before));
  expect((await services.objects()).filter((name) => !name.includes("neighbour"))).toEqual([]);
});

test("a second stack is refused with the owner's name and since when, and may take the service over", async () => {
  const { project } = services;
  services.declare([{ name: "neighbour", count: 1 }]);
  await project.mustUp();
  const { claim } = await services.records("neighbour").required();
  const second = project.withStack("second");
  const refused = await second.up();
  expect(refused.code).not.toBe(0);
  expect(refused.output).toContain(`is owned by organization/owners/test since ${claim.since}`);
  expect(await draws("neighbour")).toBe("0");

  const traffic = startTraffic({
    url: await services.url("neighbour"),
    clients: 2,
    workflow: (client, prompt) => paint(0.3, `${client}-${prompt}`),
    versionIn: paintedBy,
  });
  services.declare([{ name: "neighbour", count: 1, takeover: true }]);
  await second.mustUp();
  const { claim: taken, releases } = await services.records("neighbour").required();
  expect(taken.owner).toMatchObject({ stack: "second" });
  await expect
    .poll(async () => (await services.deployments("neighbour")).map(({ metadata }) => metadata?.name), {
      timeout: 30_000,
    })
    .toEqual([`neighbour-${releases.at(-1)?.id}`]);

  // What the former owner's state still names is the service's now.
  const refusedToEnd = await project.destroy();
  expect(refusedToEnd.code).not.toBe(0);
  expect(refusedToEnd.output).toContain("was taken over by organization/owners/second");
  const [, claimUrn = ""] = /pulumi state delete --target-dependents '([^']+)'/.exec(refusedToEnd.output) ?? [];
  const forgotten = await project.run("state", "delete", claimUrn, "--target-dependents", "--yes");
  expect(forgotten.code, forgotten.output).toBe(0);
  const gone = await project.destroy();
  expect(gone.code, gone.output).toBe(0);
  expect((await traffic.stop()).complaints).toEqual([]);
  expect(await draws("neighbour")).toBe("0");
  expect((await second.destroy()).code).toBe(0);
  expect(await services.objects()).toEqual([]);
});

test("credentials that have expired are told with the kubeconfig, and once they are renewed there, destroy passes", async () => {
  const { project, cluster } = services;
  const third = project.withStack("third");
  const kubeconfig = join(project.folder, "kubeconfig");
  const valid = readFileSync(cluster.kubeconfig, "utf8");
  writeFileSync(kubeconfig, valid);
  services.declare([{ name: "studio", count: 1 }], { kubeconfig });
  await third.mustUp();

  writeFileSync(kubeconfig, valid.replace(/user: \{client-certificate-data.*\}/, "user: {token: expired}}"));
  const refused = await third.destroy();
  expect(refused.code).not.toBe(0);
  expect(refused.output).toMatch(
    /does not accept the credentials of user \S+ in the kubeconfig \S*\/kubeconfig \(HTTP 401\)/,
  );
  expect(await draws("studio")).toBe("0");

  writeFileSync(kubeconfig, valid);
  expect(JSON.stringify(await third.state())).not.toContain("client-key-data");
  const destroyed = await third.destroy();
  expect(destroyed.code, destroyed.output).toBe(0);
  expect(await services.objects()).toEqual([]);
});
