import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { images } from "../support/cluster";
import { ClusterServices } from "../support/cluster-service";
import { finished, submit } from "../support/comfyui-client";
import { painter } from "../support/engine-plugins";
import { keys } from "../support/s3-servers";

/** Looks for what strangers' code should not get, and gives what it found. Secrets come backwards, so that finding one is no echo. */
const spy = `
import json
import os
import urllib.request


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except Exception:
        return "nothing"


class Spy:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES = ("STRING",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"told": ("STRING", {})}}

    @classmethod
    def IS_CHANGED(cls, **_inputs):
        return float("nan")

    def run(self, told):
        told = json.loads(told)
        secrets = [text[::-1].encode() for text in told["backwards"]]
        found = []
        for folder, folders, files in os.walk("/"):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/sys", "/usr", "/lib")]
            for name in files:
                path = os.path.join(folder, name)
                # Pipes and devices would have it wait for ever.
                if os.path.islink(path) or not os.path.isfile(path) or (folder.startswith("/proc") and name not in ("environ", "cmdline")):
                    continue
                content = read(path)
                if any(secret in content for secret in secrets):
                    found.append(path)
        token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
        result = {
            "found": found,
            "variables": sorted(name for name in os.environ if name.startswith("AWS_")),
            "token": os.path.exists(token),
            "mounts": sorted(path for path in told["paths"] if os.path.exists(path)),
            "user": [os.getuid(), os.getgid()],
            "answers": {url: fetch(url) for url in told["urls"]},
        }
        return {"ui": {"spied": [json.dumps(result)]}, "result": ("",)}


NODE_CLASS_MAPPINGS = {"Spy": Spy}
`;

const metadataAddress = "169.254.169.254";
const podIdentityAddress = "169.254.170.23";

interface Spied {
  readonly found: readonly string[];
  readonly variables: readonly string[];
  readonly token: boolean;
  readonly mounts: readonly string[];
  readonly user: readonly number[];
  readonly answers: Readonly<Record<string, number | string>>;
}

describe("a plugin, which is strangers' code,", () => {
  let services: ClusterServices;
  let spied: Spied;
  let ordinary: Readonly<Record<string, number | string>>;
  let urls: Readonly<
    Record<"metadata" | "podIdentity" | "besidePodIdentity" | "neighbour" | "neighbourAgent" | "store", string>
  >;
  // Of nothing else, since whatever runs on the cluster beside this test may ask it too: SDKs look there for their region.
  const metadata = createServer(({ url }, answer) => {
    answer.writeHead(url === new URL(urls.metadata).pathname ? 200 : 404).end();
  });
  // As EKS's agent has it: without a token that it knows, nothing is handed out.
  const podIdentity = createServer((_, answer) => answer.writeHead(401).end());
  const besidePodIdentity = createServer((_, answer) => answer.writeHead(200).end());
  const bridge = "comfyui-lab0";

  beforeAll(async () => {
    services = await ClusterServices.create("isolation");
    const { cluster, s3 } = services;
    // As a cloud's machine has it, for whoever is let through.
    for (const address of [metadataAddress, podIdentityAddress]) {
      execFileSync("ip", ["address", "add", `${address}/32`, "dev", bridge]);
    }
    metadata.listen(80, metadataAddress);
    podIdentity.listen(80, podIdentityAddress);
    besidePodIdentity.listen(2703, podIdentityAddress);
    for (const one of [metadata, podIdentity, besidePodIdentity]) if (!one.listening) await once(one, "listening");
    await cluster.core.createNamespacedServiceAccount({
      namespace: cluster.namespace,
      body: { metadata: { name: "reader" } },
    });
    services.makeEnvironment({ painter: painter("0"), spy });
    await services.publish();
    const pod = { serviceAccount: "reader" };
    services.declare([
      { name: "studio", count: 1, pod },
      { name: "neighbour", count: 1, pod },
    ]);
    await services.project.mustUp();
    const [neighbour] = await services.instances("neighbour");
    const address = neighbour?.pod.status?.podIP;
    urls = {
      metadata: `http://${metadataAddress}/latest/meta-data/iam/security-credentials/`,
      podIdentity: `http://${podIdentityAddress}/v1/credentials`,
      besidePodIdentity: `http://${podIdentityAddress}:2703/`,
      neighbour: `http://${address}:8188/queue`,
      neighbourAgent: `http://${address}:8199/status`,
      store: s3.endpoint,
    };
    await cluster.pod("ordinary", images.comfyui, ["/usr/bin/python3", "-c", "import time; time.sleep(3600)"]);
    await cluster.readyPod("ordinary");
    const told = JSON.stringify({
      backwards: [keys.secretAccessKey, await services.records().deployerToken()].map(backwards),
      paths: ["/comfyui/instance/instance.json", "/comfyui/program", "/comfyui/run", "/var/run/secrets"],
      urls: Object.values(urls),
    });
    const url = await services.url();
    const { outputs } = await finished(url, await submit(url, { "1": { class_type: "Spy", inputs: { told } } }));
    spied = JSON.parse((outputs as { "1": { spied: string[] } })["1"].spied[0] ?? "");
    ordinary = Object.fromEntries(await Promise.all(Object.values(urls).map(async (to) => [to, await fetched(to)])));
  });

  afterAll(async () => {
    for (const one of [metadata, podIdentity, besidePodIdentity]) one.close();
    for (const address of [metadataAddress, podIdentityAddress]) {
      execFileSync("ip", ["address", "delete", `${address}/32`, "dev", bridge]);
    }
    await services?.[Symbol.asyncDispose]();
  });

  /** What a pod gets that no policy is about. */
  async function fetched(url: string): Promise<number | string> {
    const program = `
import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=3).status)
except urllib.error.HTTPError as error:
    print(error.code)
except Exception:
    print("nothing")`;
    const { stdout } = await services.cluster.exec("ordinary", ["/usr/bin/python3", "-c", program, url]);
    return Number(stdout) || stdout.trim();
  }

  test("finds neither the store's credentials nor the deployer's token, in no file and no process's environment", () => {
    expect(spied.found).toEqual([]);
    expect(spied.variables).toEqual([]);
  });

  test("has no service account's token, and nothing of what only the agent is told", () => {
    expect(spied.token).toBe(false);
    expect(spied.mounts).toEqual([]);
    expect(spied.user).toEqual([1000, 1000]);
  });

  test("gets nothing from the metadata address, where another pod gets an answer", () => {
    expect(ordinary[urls.metadata]).toBe(200);
    expect(spied.answers[urls.metadata]).toBe("nothing");
  });

  test("reaches the agent of EKS Pod Identity, since its pod has a service account, and nothing else at that address", () => {
    expect(spied.answers[urls.podIdentity]).toBe(401);
    expect(ordinary[urls.besidePodIdentity]).toBe(200);
    expect(spied.answers[urls.besidePodIdentity]).toBe("nothing");
  });

  test("reaches neither ComfyUI nor the agent of a neighbour, as no other pod but the gateway does", () => {
    for (const url of [urls.neighbour, urls.neighbourAgent]) {
      expect(spied.answers[url]).toBe("nothing");
      expect(ordinary[url]).toBe("nothing");
    }
  });

  test("reaches what is outside otherwise", () => {
    expect(spied.answers[urls.store]).toEqual(expect.any(Number));
  });
});

function backwards(text: string): string {
  return [...text].reverse().join("");
}
