import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ClusterServices, type SeenInstance } from "../support/cluster-service";
import { failingNode, paint, paintedBy, painter } from "../support/engine-plugins";
import { quickHealth } from "../support/pulumi-project";
import type { Run } from "../support/run-program";
import { brokenPlugin } from "../support/stand-in-plugins";
import { startTraffic, type Traffic } from "../support/traffic";

/** Writes more than a pod may, once it runs. */
const greedyPlugin = `
import os
import threading
import time
import folder_paths

def fill():
    with open(os.path.join(folder_paths.get_output_directory(), "greed"), "wb") as file:
        for _ in range(150):
            file.write(os.urandom(1 << 20))
            file.flush()
    print("150 MiB written", flush=True)

threading.Thread(target=fill, daemon=True).start()
NODE_CLASS_MAPPINGS = {}
`;

describe("a release that is not healthy", () => {
  let services: ClusterServices;
  let traffic: Traffic;
  /** What serves, and the version that it paints. */
  let healthy = "";

  function declare({ health = {}, ...more }: { readonly health?: object; readonly [argument: string]: unknown } = {}) {
    services.declare([{ name: "studio", count: 1, health: { ...quickHealth, ...health }, ...more }]);
  }

  /** An update failed with a cause that a person can act on, and nothing else happened. */
  async function expectRefused(run: Run, ...causes: readonly (string | RegExp)[]): Promise<void> {
    expect(run.code, run.output).not.toBe(0);
    for (const cause of causes) expect(run.output).toMatch(cause);
    expect(run.output).toContain(`traffic stays on ${healthy}`);
    expect((await services.records().target()).release).toBe(healthy);
    const { releases } = await services.records().required();
    expect(releases.at(-1)?.events.at(-1)?.event).toBe("failed");
    // Kubernetes keeps pods that were evicted, which hold nothing, as long as their ReplicaSet; "Succeeded" where their containers ended well.
    // What the kubelet evicts while it ends anyway may take as long as its agent waits for a gateway's word.
    await services.instancesThat(
      "to be the serving release's only",
      (seen) =>
        seen.every(
          ({ release, pod }) => release === healthy || ["Failed", "Succeeded"].includes(pod.status?.phase ?? ""),
        ),
      180_000,
    );
    for (const { metadata, spec } of await services.deployments()) {
      expect([metadata?.name, spec?.replicas]).toEqual([
        metadata?.name,
        metadata?.name === `studio-${healthy}` ? 1 : 0,
      ]);
    }
  }

  /** The next update passes, and of what failed nothing is left. */
  async function expectRecovered(): Promise<void> {
    const run = await services.project.mustUp();
    healthy = (await services.records().target()).release ?? "";
    const deployments = await services.deployments();
    expect(
      deployments.map(({ metadata }) => metadata?.name),
      run.output,
    ).toEqual([`studio-${healthy}`]);
    expect((await services.instances()).map(({ release, phase }) => [release, phase])).toEqual([[healthy, "proven"]]);
  }

  beforeAll(async () => {
    services = await ClusterServices.create("failed-gate", { gpus: 2 });
    services.makeEnvironment({ painter: painter("0") });
    await services.publish();
    declare();
    await services.project.mustUp();
    healthy = (await services.records().target()).release ?? "";
    traffic = startTraffic({
      url: await services.url(),
      clients: 2,
      workflow: (client, prompt) => paint(0.5, `${client}-${prompt}`),
      versionIn: paintedBy,
      patience: 120_000,
    });
  });

  afterAll(async () => {
    const seen = await traffic?.stop();
    await services?.[Symbol.asyncDispose]();
    expect(seen?.complaints).toEqual([]);
  });

  test("names the image that cannot be pulled; the earlier image passes", async () => {
    declare({ pod: { image: "localhost/pulumi-comfyui/missing:1" } });
    await expectRefused(
      await services.project.up(),
      /container comfyui cannot start: (ErrImagePull|ImagePullBackOff)/,
      "localhost/pulumi-comfyui/missing:1",
    );
    declare();
    await expectRecovered();
  });

  test("says at once how many GPUs it needs and how many are free, and again when it fails", async () => {
    declare({ pod: { gpus: 2 }, health: { timeout: "15s" } });
    const shortage = /1 instance needs 2 nvidia.com\/gpu, 1 is free/g;
    const run = await services.project.up();
    await expectRefused(run, shortage);
    expect(run.output.match(/warning:.*needs 2 nvidia.com\/gpu/)).not.toBeNull();
    expect(run.output.match(/not proven within 15s.*needs 2 nvidia.com\/gpu/)).not.toBeNull();
    declare();
    await expectRecovered();
  });

  test("names the space that its environment needs when its pods have less", async () => {
    const big = join(services.project.environment, "ComfyUI/custom_nodes/painter/weights.bin");
    writeFileSync(big, randomBytes(120 * 2 ** 20));
    await services.publish();
    declare({ pod: { storage: "100Mi" } });
    await expectRefused(await services.project.up(), /pod\.storage/, /100 MiB/);
    declare({ pod: { storage: "400Mi" } });
    await expectRecovered();
    services.project.removePlugin("painter");
    services.project.writePlugins({ painter: painter("0") });
  });

  test("names the object of the store that is damaged; mended, the same release passes", async () => {
    const packs = await services.packs();
    services.project.writePlugins({
      painter: { ...painterFiles("1"), "data.bin": randomBytes(40_000).toString("hex") },
    });
    await services.publish();
    declare();
    const mend = await services.damage(packs);
    await expectRefused(await services.project.up(), /damaged/, /packs\//);
    const failed = (await services.records().required()).releases.at(-1)?.id;
    await mend();
    await expectRecovered();
    expect(healthy).toBe(failed);
  });

  test("shows the traceback of a plugin that does not load, then the smoke workflow that fails; both leftovers go with the next success", async () => {
    services.project.writePlugins({ broken: brokenPlugin });
    await services.publish();
    declare();
    await expectRefused(
      await services.project.up(),
      "plugin broken: No module named 'a_module_that_is_missing'",
      "import a_module_that_is_missing",
    );
    services.project.writePlugins({ broken: failingNode });
    await services.publish();
    declare({ health: { smoke: { "7": { class_type: "Fails", inputs: {} } } } });
    await expectRefused(await services.project.up(), /the smoke workflow failed in node 7 \(Fails\)/, "no paint left");
    expect(await services.deployments()).toHaveLength(3);
    services.project.removePlugin("broken");
    await services.publish();
    declare();
    await expectRecovered();
  });

  test("names the limit for which the kubelet evicts a pod", async () => {
    services.project.writePlugins({ greedy: greedyPlugin });
    await services.publish();
    declare({ pod: { storage: "100Mi" }, health: { stableFor: "100s" } });
    await expectRefused(await services.project.up(), /Evicted/, /100Mi/);
    services.project.removePlugin("greedy");
    await services.publish();
    declare();
    await expectRecovered();
  });

  test("waits for another pod when one is evicted from its node, and says so", async () => {
    services.project.writePlugins({ painter: painter("2") });
    await services.publish();
    declare({ health: { stableFor: "15s" } });
    const run = services.project.start("up", "--yes", "--skip-preview");
    const isCandidate = ({ release, phase }: SeenInstance) => release !== healthy && phase === "booting";
    const candidate = (
      await services.instancesThat("to be one that is being proven", (seen) => seen.some(isCandidate))
    ).find(isCandidate);
    await services.evict(candidate?.pod.metadata?.name ?? "");
    const { code, output } = await run.ended;
    expect(code, output).toBe(0);
    expect(output).toMatch(/evicted/);
    await expectRecovered();
    const [instance] = await services.instances();
    expect(instance?.release).toBe(candidate?.release);
    expect(instance?.pod.metadata?.uid).not.toBe(candidate?.pod.metadata?.uid);
  });
});

function painterFiles(version: string): Readonly<Record<string, string>> {
  const source = painter(version);
  if (typeof source === "string") throw new Error("the painter has several files");
  return source;
}
