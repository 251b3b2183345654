import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { runCli } from "../support/cli-run";
import { ClusterServices } from "../support/cluster-service";
import { finished, running, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";

let services: ClusterServices;

beforeAll(async () => {
  services = await ClusterServices.create("recover");
  services.makeEnvironment({ painter: painter("1") });
  await services.publish();
  services.declare([{ name: "studio", count: 1 }]);
});

afterAll(async () => {
  await services?.[Symbol.asyncDispose]();
});

async function recover(...options: readonly string[]) {
  const { project } = services;
  const context = { cwd: project.folder, environment: project.environmentVariables };
  const { code, stdout, stderr } = await runCli(["recover", "--yes", "--json", ...options], context);
  if (code !== 0) throw new Error(`recover ended with ${code}: ${stdout}${stderr}`);
  return JSON.parse(stdout);
}

/** Starts `pulumi up` and kills its engine as soon as something has come to be; the processes that it started live on. */
async function killedOnce(what: string, look: () => Promise<boolean>) {
  const run = services.project.start("up", "--yes", "--skip-preview");
  let ended = false;
  let output = "";
  void run.ended.then((result) => {
    ended = true;
    output = result.output;
  });
  await waitFor({
    what,
    deadline: 180_000,
    interval: 20,
    look: async () => {
      if (ended) throw new Error(`pulumi up ended before ${what}:\n${output}`);
      return (await look()) || undefined;
    },
  });
  await run.kill();
}

const releases = async () => (await services.records().record())?.releases ?? [];
const newest = async () => (await releases()).at(-1)?.id ?? "";
const target = () => services.records().target();

const isDeploymentThere = (before: string) => async () => {
  const id = await newest();
  return id !== before && (await services.deployments()).some(({ metadata }) => metadata?.name === `studio-${id}`);
};

/** The gate of the newest release waits for its pods. */
const isGateWaiting = (before: string) => async () =>
  (await releases()).at(-1)?.events.at(-1)?.event === "started" && (await isDeploymentThere(before)());

/** What there is of the kinds that {@link ClusterServices.objects} lists is exactly what the state has of them. */
async function expectNoOrphan(): Promise<void> {
  const { resources } = (await services.project.state()).deployment;
  const listed = /^(deployment|configmap|secret|poddisruptionbudget|service|serviceaccount)\//;
  const native = resources.flatMap(({ type, id = "" }) =>
    type.startsWith("kubernetes:")
      ? [`${type.slice(type.lastIndexOf(":") + 1).toLowerCase()}/${id.slice(id.indexOf("/") + 1)}`]
      : [],
  );
  // What the API makes for the service's claim, and what controllers make of Deployments.
  const others =
    /^(pod|replicaset)\/|^configmap\/studio-(record|target|gateway-status|program-.*)$|^secret\/studio-deployer$/;
  const made = (await services.objects()).filter((name) => !others.test(name));
  expect(made).toEqual(native.filter((name) => listed.test(name)).sort());
}

/** Sets how many gateways there are; returns when those that had to go are gone. */
async function scaleGateway(replicas: number): Promise<void> {
  const { apps, core, namespace } = services.cluster;
  const name = "studio";
  const scale = await apps.readNamespacedDeploymentScale({ name, namespace });
  await apps.replaceNamespacedDeploymentScale({ name, namespace, body: { ...scale, spec: { replicas } } });
  const labelSelector = "app.kubernetes.io/instance=studio,app.kubernetes.io/component=gateway";
  await waitFor({
    what: `no more than ${replicas} gateways to be left`,
    deadline: 120_000,
    look: async () =>
      (await core.listNamespacedPod({ namespace, labelSelector })).items.length <= replicas || undefined,
  });
}

test("a first deployment whose engine is killed while the Deployment is created, in the gate, and while traffic moves", async () => {
  const { project } = services;

  await killedOnce("the Deployment to be there", isDeploymentThere(""));
  expect((await project.up()).output).toContain("locked");
  await recover();

  await killedOnce("the gate to wait", isGateWaiting(""));
  await waitFor({
    what: "the instance to be proven, as the gate would have seen",
    deadline: 120_000,
    look: async () => (await services.instances()).some(({ phase }) => phase === "proven") || undefined,
  });
  expect(await target()).toMatchObject({ release: null });
  await recover();

  // Without a gateway that applies it, the switch is not done when its engine is killed.
  await scaleGateway(0);
  await killedOnce("the traffic to move", async () => (await target()).release !== null);
  await scaleGateway(2);
  const moved = await newest();
  expect(await recover()).toMatchObject({ orphans: [{ kind: "traffic", removed: false }] });
  await expectNoOrphan();
  const refused = await project.destroy();
  expect(refused.code).not.toBe(0);
  expect(refused.output).toContain("--include-serving");
  expect((await target()).release).toBe(moved);

  expect(await recover("--include-serving")).toMatchObject({ orphans: [{ kind: "traffic", removed: true }] });
  const destroyed = await project.destroy();
  expect(destroyed.code, destroyed.output).toBe(0);
  expect(await services.objects()).toEqual([]);
}, 900_000);

test("a rotation whose engine is killed at every step converges, and what was asked for before is answered", async () => {
  const { project } = services;
  await project.mustUp();
  const url = await services.url();
  const first = (await target()).release ?? "";
  const long = await submit(url, paint(150, "long"));
  await running(url, long);

  project.writePlugins({ painter: painter("2") });
  await services.publish();
  services.declare([{ name: "studio", count: 1 }]);
  await killedOnce("the Deployment to be there", isDeploymentThere(first));
  await recover();
  expect((await target()).release).toBe(first);

  await killedOnce("the gate to wait", isGateWaiting(first));
  const candidate = await newest();
  await waitFor({
    what: "the instance to be proven, as the gate would have seen",
    deadline: 120_000,
    look: async () =>
      (await services.instances()).some(({ release, phase }) => release === candidate && phase === "proven") ||
      undefined,
  });
  expect((await target()).release).toBe(first);
  await recover();

  await killedOnce("the traffic to move", async () => (await target()).release !== first);
  await recover();
  await killedOnce("the first release to drain", async () => (await target()).draining.includes(first));
  await recover();
  await expectNoOrphan();
  await project.mustUp();

  expect(paintedBy((await finished(url, long)).outputs)).toBe("1");
  expect(paintedBy((await finished(url, await submit(url, paint(0, "short")))).outputs)).toBe("2");
  const serving = (await target()).release;
  expect((await services.instances()).map(({ release, phase }) => [release, phase])).toEqual([[serving, "proven"]]);
  expect((await releases()).filter(({ events }) => events.at(-1)?.event !== "removed").map(({ id }) => id)).toEqual([
    serving,
  ]);
  await expectNoOrphan();
  expect(await recover()).toMatchObject({ orphans: [], pendingOperations: [], leftOvers: [] });
  const destroyed = await project.destroy();
  expect(destroyed.code, destroyed.output).toBe(0);
  expect(await services.objects()).toEqual([]);
}, 900_000);
