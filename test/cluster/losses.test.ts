import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { ClusterServices, type SeenInstance } from "../support/cluster-service";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { HeldPrompt } from "../support/held-prompt";
import { quickHealth } from "../support/pulumi-project";
import { startTraffic, type Traffic } from "../support/traffic";

/** Five minutes where a pod does not say otherwise. */
const soon = { operator: "Exists", effect: "NoExecute", tolerationSeconds: 5 };
const tolerations = [
  { key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/unreachable", ...soon },
  { key: "node.kubernetes.io/not-ready", ...soon },
];

/** A service of two instances on nodes of one GPU each, to which one thing after the other happens. */
describe("a service whose nodes, pods and API server go goes on:", { timeout: 600_000 }, () => {
  let services: ClusterServices;
  let version = 0;

  function declare(health: object = {}): void {
    services.declare([{ name: "studio", count: 2, health: { ...quickHealth, ...health }, pod: { tolerations } }]);
  }

  const addNode = (gpus = 1) => services.addNode(gpus);

  /** Declares another release of the same. */
  async function declareNext(health: object = {}): Promise<void> {
    version += 1;
    services.project.writePlugins({ painter: painter(String(version)) });
    await services.publish();
    declare(health);
  }

  async function serving(): Promise<string> {
    return (await services.records().target()).release ?? "";
  }

  /** Both instances of what serves, and nothing else that is not on its way out. */
  async function untilWhole(deadline = 180_000): Promise<readonly SeenInstance[]> {
    const release = await serving();
    return services.instancesThat(
      `to be two proven ones of ${release}`,
      (seen) => {
        const staying = seen.filter(({ phase }) => phase !== "draining");
        return staying.length === 2 && staying.every((one) => one.release === release && one.phase === "proven");
      },
      deadline,
    );
  }

  /** Clients until the test is over. */
  async function clients(): Promise<Traffic> {
    const traffic = startTraffic({
      url: await services.url(),
      clients: 3,
      workflow: (client, prompt) => paint(0.3, `${version}-${client}-${prompt}-${Math.random()}`),
      versionIn: paintedBy,
      patience: 180_000,
    });
    onTestFinished(async () => {
      await traffic.stop();
    });
    return traffic;
  }

  /** What was on a lost instance is told to be lost; everything else went well. */
  async function expectOnlyLosses(traffic: Traffic): Promise<void> {
    const { complaints, finished } = await traffic.stop();
    expect(complaints.filter((text) => !/ended with execution_error .* vanished before/.test(text))).toEqual([]);
    expect(finished).toBeGreaterThan(10);
  }

  beforeAll(async () => {
    services = await ClusterServices.create("losses", { gpus: 1 });
    await addNode();
    services.makeEnvironment({ painter: painter("0") });
    await services.publish();
    declare();
    await services.project.mustUp();
  });
  afterAll(async () => {
    await services?.[Symbol.asyncDispose]();
  });

  test("a node fails while it serves: its prompts are told to be lost, once, and a pod elsewhere takes its place", async () => {
    const held = await HeldPrompt.start(services);
    const traffic = await clients();
    await services.cluster.lab.failNode(held.node);
    await held.isLost();
    await addNode();
    const whole = await untilWhole();
    expect(whole.filter(({ phase }) => phase === "proven").map(({ pod }) => pod.spec?.nodeName)).not.toContain(
      held.node,
    );
    await services.project.mustUp();
    await expectOnlyLosses(traffic);
    await held.wasLostOnce();
    await services.cluster.lab.removeNode(held.node);
  });

  test("a node is removed while the old release drains: the update ends well", async () => {
    await addNode(2);
    const held = await HeldPrompt.start(services);
    const old = await serving();
    const traffic = await clients();
    await declareNext();
    const run = services.project.start("up", "--yes", "--skip-preview");
    await waitFor({
      what: "the old release to drain",
      deadline: 120_000,
      look: async () => (await services.records().target()).draining.includes(old) || undefined,
    });
    await services.cluster.lab.removeNode(held.node);
    const { code, output } = await run.ended;
    expect(code, output).toBe(0);
    await held.isLost();
    await untilWhole();
    expect(await services.deployments()).toHaveLength(1);
    await expectOnlyLosses(traffic);
    await held.wasLostOnce();
  });

  test("a node is removed while the gate waits, another while the new release serves: both are replaced", async () => {
    const old = await serving();
    const first = await addNode();
    const traffic = await clients();
    await declareNext({ stableFor: "10s" });
    const run = services.project.start("up", "--yes", "--skip-preview");
    await services.instancesThat("to be one that boots on the node that will go", (seen) =>
      seen.some(({ pod, phase }) => pod.spec?.nodeName === first && phase === "booting"),
    );
    await services.cluster.lab.removeNode(first);
    await addNode(2);
    const { code, output } = await run.ended;
    expect(code, output).toBe(0);
    expect(output).toContain(`is lost with its node ${first}`);
    expect(await serving()).not.toBe(old);
    await untilWhole();

    const held = await HeldPrompt.start(services);
    await services.cluster.lab.removeNode(held.node);
    await held.isLost();
    await addNode();
    await untilWhole();
    await services.project.mustUp();
    await expectOnlyLosses(traffic);
    await held.wasLostOnce();
  });

  test("a node fails while the gate waits, another while the old release drains: the same update ends well", async () => {
    const held = await HeldPrompt.start(services);
    const old = await serving();
    const first = await addNode();
    const traffic = await clients();
    await declareNext({ stableFor: "10s" });
    const run = services.project.start("up", "--yes", "--skip-preview");
    await services.instancesThat("to be one that boots on the node that will fail", (seen) =>
      seen.some(({ pod, phase }) => pod.spec?.nodeName === first && phase === "booting"),
    );
    await services.cluster.lab.failNode(first);
    await addNode();
    await waitFor({
      what: "the old release to drain",
      deadline: 180_000,
      look: async () => (await services.records().target()).draining.includes(old) || undefined,
    });
    await services.cluster.lab.failNode(held.node);
    const { code, output } = await run.ended;
    expect(code, output).toBe(0);
    expect(output).toContain(`its node ${first} has not been ready since`);
    expect(output).toContain(`its node ${held.node} has not been ready since`);
    await held.isLost();
    await untilWhole();
    expect(await services.deployments()).toHaveLength(1);
    await expectOnlyLosses(traffic);
    await held.wasLostOnce();
    for (const node of [first, held.node]) await services.cluster.lab.removeNode(node);
  });

  test("an instance is evicted, then a node drained, under load: no prompt is cut, and never two instances go at once", async () => {
    const whole = (await untilWhole()).filter(({ phase }) => phase === "proven");
    const traffic = await clients();
    const held = await HeldPrompt.start(services);
    const other = whole.find(({ pod }) => pod.metadata?.name !== held.pod.metadata?.name);
    await services.evict(held.pod.metadata?.name ?? "");
    await expect(services.evict(other?.pod.metadata?.name ?? "")).rejects.toMatchObject({ code: 429 });
    await held.finish();
    await untilWhole();

    const node = other?.pod.spec?.nodeName ?? "";
    await addNode();
    const { core } = services.cluster;
    const { spec } = await core.readNode({ name: node });
    await core.replaceNode({
      name: node,
      body: { ...(await core.readNode({ name: node })), spec: { ...spec, unschedulable: true } },
    });
    await waitFor({
      what: `the instance on ${node} to be evicted`,
      deadline: 120_000,
      look: () => services.evict(other?.pod.metadata?.name ?? "").then(() => true as const, unlessTooMany),
    });
    await services.instancesThat(`to be none on ${node}`, (seen) =>
      seen.every(({ pod }) => pod.spec?.nodeName !== node),
    );
    await untilWhole();
    expect((await traffic.stop()).complaints).toEqual([]);
    await services.cluster.lab.removeNode(node);
  });

  test("the API server is restarted while the gate waits, and when traffic moves: the same update ends well", async () => {
    const { lab } = services.cluster;
    await addNode(2);
    const old = await serving();
    const traffic = await clients();
    await declareNext({ stableFor: "5s" });
    const run = services.project.start("up", "--yes", "--skip-preview");
    const ofNext = (seen: readonly SeenInstance[]) => seen.filter(({ release }) => release !== old);
    await services.instancesThat("to boot", (seen) => ofNext(seen).some(({ phase }) => phase === "booting"));
    await lab.restart("apiserver");
    await waitFor({
      what: "both new instances to be proven",
      deadline: 120_000,
      interval: 20,
      look: async () => {
        const seen = await services.instances().catch(() => []);
        return ofNext(seen).filter(({ phase }) => phase === "proven").length === 2 || undefined;
      },
    });
    await lab.restart("apiserver");
    const { code, output } = await run.ended;
    expect(code, output).toBe(0);
    expect(await serving()).not.toBe(old);
    await untilWhole();
    expect(await services.deployments()).toHaveLength(1);
    expect((await traffic.stop()).complaints).toEqual([]);
  });
});

/** A disruption budget allows it later. */
function unlessTooMany(error: { readonly code?: number }): undefined {
  if (error.code !== 429) throw error;
  return undefined;
}
