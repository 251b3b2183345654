import { execFileSync, spawnSync } from "node:child_process";
import { chownSync, statSync } from "node:fs";
import { join } from "node:path";
import type { V1PodSpec } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { comfyuiPod } from "../../components/platforms/kubernetes/comfyui-pod";
import { prepareNodeCache } from "../../components/platforms/kubernetes/node-cache";
import { podSchema, podSettings } from "../../providers/declarations/pod";
import { type Cluster, connectCluster } from "../../runtime/kubernetes";
import { ApiServer } from "../support/api-server";
import { temporaryFolder } from "../support/trees";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("the container that prepares a node's cache is root: its test is skipped");

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

/** Runs the container's command as root with the rights that the container has. */
function prepare(path: string, user: number) {
  const { command, securityContext } = prepareNodeCache("image", user);
  const kept = securityContext.capabilities.add.map((name) => `,+${name.toLowerCase()}`).join("");
  const [, ...args] = command.map((argument) => (argument === "/comfyui/node-cache" ? path : argument));
  const rights = ["--no-new-privs", "--inh-caps=-all", `--bounding-set=-all${kept}`];
  return spawnSync("setpriv", [...rights, process.execPath, ...args], { encoding: "utf8" });
}

describe.runIf(isRoot)("what prepares a node's cache", () => {
  test("makes a folder of root's over to the pods' user, and does so once", () => {
    execFileSync("mkdir", ["-m", "755", join(folder.path, "cache")]);
    const look = () => {
      const { uid, gid, mode } = statSync(join(folder.path, "cache"));
      return [uid, gid, (mode & 0o777).toString(8)];
    };

    for (let run = 0; run < 2; run++) {
      const { status, stderr } = prepare(join(folder.path, "cache"), 4242);

      expect([status, stderr]).toEqual([0, ""]);
      expect(look()).toEqual([4242, 4242, "700"]);
    }
  });

  test("holds up no pod where it cannot", () => {
    const missing = prepare(join(folder.path, "missing"), 4242);
    expect([missing.status, missing.stderr]).toEqual([
      0,
      expect.stringMatching(/missing cannot be made over to user 4242: ENOENT/),
    ]);
    // With no more rights than to change owners.
    execFileSync("mkdir", ["-m", "755", join(folder.path, "others")]);
    chownSync(join(folder.path, "others"), 17, 17);
    const others = prepare(join(folder.path, "others"), 4242);
    expect([others.status, others.stderr]).toEqual([0, expect.stringContaining("EPERM")]);
    expect(statSync(join(folder.path, "others")).uid).toBe(17);
  });
});

describe("a pod with a node's cache, at a real API server,", () => {
  const { image, nodeCache } = { image: "registry/comfyui:1", nodeCache: { path: "/var/lib/comfyui-restores" } };
  let server: ApiServer;
  let cluster: Cluster;
  beforeAll(async () => {
    server = await ApiServer.start();
    cluster = await connectCluster({ kubeconfig: server.kubeconfig("admin"), namespace: "default" });
  });
  afterAll(() => server?.stop());

  function specOf(pod: object): V1PodSpec {
    const settings = podSettings(podSchema.parse({ image, ...pod }), {});
    return comfyuiPod({
      mode: "instance",
      pod: settings,
      ...{ grace: 60, programs: "programs", variables: "variables", told: "told" },
      environment: { emptyDir: {} },
      storage: settings.storage,
      agentEnvironment: [],
    }) as V1PodSpec;
  }

  async function create(level: string, pod: object): Promise<string> {
    const labels = { "pod-security.kubernetes.io/enforce": level };
    const name = `${level}-${"nodeCache" in pod ? "with" : "without"}`;
    await cluster.core.createNamespace({ body: { metadata: { name, labels } } });
    try {
      await cluster.core.createNamespacedPod({ namespace: name, body: { metadata: { name }, spec: specOf(pod) } });
      return "accepted";
    } catch (error) {
      return (error as Error).message;
    }
  }

  test("is accepted where hostPath volumes are, and only there", async () => {
    expect(await create("restricted", {})).toBe("accepted");
    expect(await create("privileged", { nodeCache })).toBe("accepted");
    for (const level of ["baseline", "restricted"]) {
      expect(await create(level, { nodeCache })).toMatch(new RegExp(`violates PodSecurity .*${level}.*hostPath`));
    }
  });
});
