import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { onLab } from "../support/cluster";
import { ClusterServices, type SeenInstance } from "../support/cluster-service";
import { painter } from "../support/engine-plugins";

/** A service whose instances keep their restores on their node, which is a folder of this machine. */
describe.runIf(onLab)("a service with a cache on its node", { timeout: 600_000 }, () => {
  /** The lab's nodes have the machine's disk. Restores are kept where a tenth of it stays free. */
  const path = `/var/tmp/pulumi-comfyui-node-cache-${randomBytes(4).toString("hex")}`;
  const folder = join(path, "1000");
  let services: ClusterServices;
  let first = "";
  let lost: readonly { readonly Key: string; readonly Body: Buffer }[] = [];

  beforeAll(async () => {
    services = await ClusterServices.create("node-cache");
    services.makeEnvironment({ painter: painter("0") });
    first = await services.publish();
  });
  afterAll(async () => {
    await services?.[Symbol.asyncDispose]();
    rmSync(path, { recursive: true, force: true });
  });

  function declare(count: number, more: object = {}): void {
    services.declare([{ name: "studio", count, pod: { nodeCache: { path } }, ...more }]);
  }

  /** What content is read from is gone; manifests stay. */
  async function loseContent(): Promise<void> {
    const { client, bucket: Bucket } = services.s3;
    const packs: { Key: string; Body: Buffer }[] = [];
    for (const Key of await services.packs()) {
      const { Body } = await client.getObject({ Bucket, Key });
      packs.push({ Key, Body: Buffer.from((await Body?.transformToByteArray()) ?? []) });
      await client.deleteObject({ Bucket, Key });
    }
    lost = packs;
    expect(await services.packs()).toEqual([]);
  }

  async function bringContentBack(): Promise<void> {
    const { client, bucket: Bucket } = services.s3;
    for (const { Key, Body } of lost) await client.putObject({ Bucket, Key, Body });
  }

  const nameOf = ({ pod }: SeenInstance) => pod.metadata?.name ?? "";
  const logOf = (instance: SeenInstance) => services.cluster.logs(nameOf(instance), "agent");
  const restores = () => readdirSync(folder).filter((name) => /^[0-9a-f]{64}$/.test(name));
  const digestOf = (reference: string) => reference.slice(-64);
  const staying = (seen: readonly SeenInstance[]) => seen.filter(({ phase }) => phase !== "draining");

  test("its first instance restores into it, as the pods' user, and ComfyUI's container has nothing of it", async () => {
    declare(1);
    await services.project.mustUp();

    const [instance] = await services.instances();
    if (instance === undefined) throw new Error("there is no instance");
    expect(await logOf(instance)).toContain("restored into the node's cache of restores (/comfyui/node-cache) first");
    expect(restores()).toEqual([digestOf(first)]);
    const { uid, gid, mode } = statSync(folder);
    expect([uid, gid, mode & 0o777]).toEqual([1000, 1000, 0o700]);
    const python = "import os; print(os.path.exists('/comfyui/node-cache'), open('/proc/mounts').read())";
    const { stdout } = await services.cluster.exec(nameOf(instance), ["/usr/bin/python3", "-c", python], "comfyui");
    expect(stdout).toMatch(/^False /);
    expect(stdout).not.toContain("node-cache");
    // No file of the pod is one of the cache.
    const inside = "import os; print(os.stat('/comfyui/environment/ComfyUI/main.py').st_ino)";
    const inode = await services.cluster.exec(nameOf(instance), ["/usr/bin/python3", "-c", inside], "comfyui");
    expect(Number(inode.stdout)).not.toBe(statSync(join(folder, digestOf(first), "ComfyUI/main.py")).ino);
  });

  test("a second instance, and one that is killed and comes back, need no content of the bucket", async () => {
    await loseContent();
    declare(2);
    await services.project.mustUp();
    const both = await services.instances();
    expect(both.map(({ phase }) => phase)).toEqual(["proven", "proven"]);
    const texts = await Promise.all(both.map(logOf));
    expect(texts.filter((text) => text.includes("without the store"))).toHaveLength(1);

    const [killed] = both;
    if (killed === undefined) throw new Error("there is no instance");
    const { namespace, core } = services.cluster;
    await core.deleteNamespacedPod({ namespace, name: nameOf(killed), gracePeriodSeconds: 0 });
    const after = await services.instancesThat(
      "to be two proven ones, of which one is new",
      (seen) =>
        staying(seen).length === 2 &&
        staying(seen).every(({ phase }) => phase === "proven") &&
        staying(seen).every((instance) => nameOf(instance) !== nameOf(killed)),
      180_000,
    );

    const known = new Set(both.map(nameOf));
    const [back] = staying(after).filter((instance) => !known.has(nameOf(instance)));
    if (back === undefined) throw new Error("no instance has come back");
    expect(await logOf(back)).toContain("without the store");
  });

  test("another release is kept beside it, so that a rollback needs no content of the bucket", async () => {
    await bringContentBack();
    services.project.writePlugins({ painter: painter("1") });
    const second = await services.publish();
    declare(1);
    await services.project.mustUp();
    expect(restores().sort()).toEqual([first, second].map(digestOf).sort());
    await loseContent();

    const { endpoint, region } = services.s3.settings;
    declare(1, { snapshot: { reference: first, store: { endpoint, region } } });
    await services.project.mustUp();

    const [instance] = staying(await services.instances());
    if (instance === undefined) throw new Error("there is no instance");
    expect(await logOf(instance)).toContain("without the store");
    const destroyed = await services.project.destroy();
    expect(destroyed.code, destroyed.output).toBe(0);
    expect(existsSync(join(folder, digestOf(first)))).toBe(true);
  });
});
