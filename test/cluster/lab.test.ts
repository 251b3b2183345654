import { execFileSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { V1PersistentVolumeClaim, V1Pod, V1Service } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../runtime/waiting";
import {
  images,
  isReady,
  onLab,
  openCluster,
  restrictedContainer,
  type TestCluster,
  unlessGone,
} from "../support/cluster";

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await openCluster("lab");
});

afterAll(() => cluster?.close());

/** A server of Node.js that answers with its pod's name. */
const answering = [
  "node",
  "-e",
  "require('http').createServer((_, answer) => answer.end(require('os').hostname())).listen(8080)",
];

function service(name: string): V1Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] },
  };
}

describe("a pod", () => {
  it("runs Node.js, unprivileged", async () => {
    const program = `
      const fs = require("node:fs");
      const status = fs.readFileSync("/proc/self/status", "utf8");
      let written = false;
      try { fs.writeFileSync("/usr/file", ""); written = true; } catch (error) { written = error.code; }
      const [major, minor] = process.versions.node.split(".").map(Number);
      console.log(JSON.stringify({
        uid: process.getuid(), written, recent: major > 22 || (major === 22 && minor >= 15),
        seccomp: /Seccomp:\\s*(\\d)/.exec(status)[1], rights: /CapBnd:\\s*(\\w+)/.exec(status)[1], noNewPrivileges: /NoNewPrivs:\\s*(\\d)/.exec(status)[1],
      }));`;
    await cluster.pod("node", images.node, ["node", "-e", program]);
    expect(JSON.parse(await cluster.outputOf("node"))).toEqual({
      ...{ uid: 1000, written: "EROFS", recent: true },
      ...{ seccomp: "2", rights: "0000000000000000", noNewPrivileges: "1" },
    });
  });

  it("runs Python with what ComfyUI needs of it, unprivileged", async () => {
    const program = `
import asyncio, ctypes, json, os, pwd, re, sqlite3, ssl, zlib
status = open("/proc/self/status").read()
try:
    open("/usr/file", "w")
    written = True
except OSError as error:
    written = error.strerror
print(json.dumps({"uid": os.getuid(), "written": written, "seccomp": re.search(r"Seccomp:\\s*(\\d)", status)[1]}))`;
    await cluster.pod("python", images.comfyui, ["python3", "-c", program]);
    expect(JSON.parse(await cluster.outputOf("python"))).toEqual({
      uid: 1000,
      written: "Read-only file system",
      seccomp: "2",
    });
  });

  it("tells its log, runs a command, and gives a failed command's exit code", async () => {
    await cluster.pod("shell", images.comfyui, ["sh", "-c", "echo started; exec sleep 300"]);
    await cluster.readyPod("shell");
    expect(await cluster.logs("shell")).toBe("started\n");
    expect(await cluster.exec("shell", ["sh", "-c", "echo out; echo err >&2"])).toEqual({
      code: 0,
      stdout: "out\n",
      stderr: "err\n",
    });
    expect(await cluster.exec("shell", ["sh", "-c", "exit 7"])).toMatchObject({ code: 7 });
    await cluster.remove({ apiVersion: "v1", kind: "Pod", metadata: { name: "shell" } });
  });
});

it("has a Service reach its pods by address and by name, from pods", async () => {
  const names = ["web-1", "web-2"];
  for (const name of names) await cluster.pod(name, images.node, answering);
  for (const name of names)
    await cluster.core.patchNamespacedPod({
      name,
      namespace: cluster.namespace,
      body: [{ op: "replace", path: "/metadata/labels/app", value: "web" }],
    });
  const { spec } = await cluster.create(service("web"));
  for (const name of names) await cluster.readyPod(name);
  const program = `
    const seen = {};
    (async () => {
      for (const host of process.argv.slice(1)) {
        const answers = new Set();
        // Which pod a connection gets is drawn by lot.
        for (let number = 0; number < 200 && answers.size < 2; number += 1) {
          answers.add(await fetch("http://" + host, { headers: { connection: "close" } }).then((answer) => answer.text(), () => ""));
          answers.delete("");
        }
        seen[host] = [...answers].sort();
      }
      console.log(JSON.stringify(seen));
    })();`;
  const hosts = [spec?.clusterIP ?? "", "web", `web.${cluster.namespace}.svc.cluster.local`];
  await cluster.pod("client", images.node, ["node", "-e", program, ...hosts]);
  expect(JSON.parse(await cluster.outputOf("client"))).toEqual(Object.fromEntries(hosts.map((host) => [host, names])));
});

describe.runIf(onLab)("the lab", () => {
  it("runs a virtual environment in a pod that was made on this machine, from a volume at the same path", async () => {
    const volume = `environment-${cluster.namespace}`;
    const folder = await cluster.lab.addVolume(volume, 1);
    execFileSync("/usr/bin/python3", ["-m", "venv", "--without-pip", join(folder, "venv")]);
    const packages = execFileSync(
      join(folder, "venv/bin/python"),
      ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
      { encoding: "utf8" },
    ).trim();
    writeFileSync(join(packages, "in_venv.py"), "WORD = 'found'\n");
    chmodSync(folder, 0o755);
    await cluster.create<V1PersistentVolumeClaim>({
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: "environment" },
      spec: {
        storageClassName: cluster.lab.storageClass,
        volumeName: volume,
        accessModes: ["ReadWriteOnce"],
        resources: { requests: { storage: "1Gi" } },
      },
    });
    const command = [join(folder, "venv/bin/python"), "-c", "import in_venv, sys; print(in_venv.WORD, sys.prefix)"];
    await cluster.pod("venv", images.comfyui, command, {
      containers: [
        {
          name: "main",
          image: images.comfyui,
          command,
          securityContext: restrictedContainer,
          volumeMounts: [{ name: "environment", mountPath: folder, readOnly: true }],
        },
      ],
      volumes: [{ name: "environment", persistentVolumeClaim: { claimName: "environment" } }],
    });
    expect(await cluster.outputOf("venv")).toBe(`found ${join(folder, "venv")}\n`);
  });

  it("adds a node with GPUs, gives no more of them than there are, and removes it with its pods", async () => {
    const { lab } = cluster;
    const node = `gpu-${cluster.namespace}`;
    await lab.addNode(node, { gpus: 2, labels: { pool: "gpu" }, taints: ["nvidia.com/gpu=present:NoSchedule"] });
    const taking = (name: string, gpus: string) =>
      cluster.pod(name, images.node, answering, {
        nodeSelector: { pool: "gpu" },
        tolerations: [{ key: "nvidia.com/gpu", operator: "Exists" }],
        containers: [
          {
            name: "main",
            image: images.node,
            command: answering,
            securityContext: restrictedContainer,
            resources: { limits: { "nvidia.com/gpu": gpus } },
          },
        ],
      });
    await taking("first", "2");
    expect((await cluster.readyPod("first")).spec?.nodeName).toBe(node);
    await taking("second", "1");
    const unscheduled = ({ status }: V1Pod) =>
      status?.conditions?.some(({ reason }) => reason === "Unschedulable") ?? false;
    const waiting = await cluster.podThat("second", "to find no GPU", unscheduled);
    expect(waiting.status?.conditions?.map(({ message }) => message).join()).toContain("Insufficient nvidia.com/gpu");
    await cluster.remove({ apiVersion: "v1", kind: "Pod", metadata: { name: "first" } });
    await cluster.readyPod("second");

    await lab.removeNode(node);
    expect(await cluster.core.readNode({ name: node }).catch(unlessGone)).toBeUndefined();
    await waitFor({
      what: "the pod of the removed node to be gone",
      deadline: 120_000,
      look: async () =>
        (await cluster.core.readNamespacedPod({ name: "second", namespace: cluster.namespace }).catch(unlessGone)) ===
        undefined
          ? true
          : undefined,
    });
  });

  it("finds a node that failed not ready", async () => {
    const node = `failing-${cluster.namespace}`;
    await cluster.lab.addNode(node);
    await cluster.lab.failNode(node);
    await waitFor({
      what: `${node} not to be ready`,
      deadline: 60_000,
      look: async () => {
        const { status } = await cluster.core.readNode({ name: node });
        return status?.conditions?.some(({ type, status: value }) => type === "Ready" && value !== "True") || undefined;
      },
    });
    await cluster.lab.removeNode(node);
  });

  it("keeps pods while the API server is killed, and goes on when it is back", async () => {
    const before = await cluster.pod("staying", images.node, answering).then(() => cluster.readyPod("staying"));
    await cluster.lab.restart("apiserver");
    await waitFor({
      what: "the API server to answer again",
      deadline: 60_000,
      look: () => cluster.core.readNamespace({ name: cluster.namespace }).catch(() => undefined),
    });
    const after = await cluster.readyPod("staying");
    expect(isReady(after)).toBe(true);
    expect(after.status?.podIP).toBe(before.status?.podIP);
    expect(after.status?.containerStatuses?.[0]?.restartCount).toBe(0);
    await cluster.pod("later", images.node, ["node", "-e", "console.log('later')"]);
    expect(await cluster.outputOf("later")).toBe("later\n");
  });

  it("has an S3 server of this machine reached from a pod", async () => {
    const server = await cluster.s3Server("versitygw");
    try {
      await server.client.putObject({ Bucket: server.bucket, Key: "file", Body: "content" });
      const program = "fetch(process.argv[1]).then((answer) => console.log(answer.status))";
      await cluster.pod("s3", images.node, ["node", "-e", program, `${server.endpoint}/${server.bucket}/file`]);
      // Not signed, so refused: by the server, which is what was to be reached.
      expect(await cluster.outputOf("s3")).toBe("403\n");
    } finally {
      await server.stop();
    }
  });
});
