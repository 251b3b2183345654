import type { V1NetworkPolicy, V1NetworkPolicySpec } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { images, onLab, openCluster, restrictedContainer, type TestCluster } from "../support/cluster";

/** Enforcement is the cluster's own matter: on others than the lab it is not for these tests to prove. */
describe.runIf(onLab)("the lab enforces network policies", () => {
  let cluster: TestCluster;
  const addresses: Record<string, string> = {};
  const policies: V1NetworkPolicy[] = [];

  beforeAll(async () => {
    cluster = await openCluster("policies");
    const serving = [
      "node",
      "-e",
      "for (const port of [8080, 8081]) require('http').createServer((_, answer) => answer.end('served')).listen(port)",
    ];
    for (const name of ["server", "friend", "stranger"]) {
      await cluster.pod(name, images.node, serving, {
        containers: [
          {
            name: "main",
            image: images.node,
            command: serving,
            securityContext: restrictedContainer,
            ports: [{ name: "open", containerPort: 8080 }],
            readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1, failureThreshold: 1 },
          },
        ],
      });
    }
    for (const name of ["server", "friend", "stranger"])
      addresses[name] = (await cluster.readyPod(name)).status?.podIP ?? "";
    await cluster.create({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "server" },
      spec: { selector: { app: "server" }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    // Before any policy, so that what a policy refuses is its doing.
    for (const url of [`http://${addresses.server}:8080`, "http://server", `http://${addresses.server}:8081`])
      await becomes("stranger", url, "served");
  });

  afterEach(async () => {
    for (const policy of policies.splice(0)) await cluster.remove(policy);
  });

  afterAll(() => cluster?.close());

  async function policy(name: string, spec: V1NetworkPolicySpec): Promise<void> {
    const object: V1NetworkPolicy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name },
      spec,
    };
    policies.push(await cluster.create(object));
  }

  /** What a pod gets from a URL: the answer's text or status, or "nothing". */
  async function got(pod: string, url: string): Promise<string> {
    const program = `
      fetch(${JSON.stringify(url)}, { signal: AbortSignal.timeout(2000) })
        .then(async (answer) => answer.ok ? answer.text() : String(answer.status), () => "nothing")
        .then((text) => process.stdout.write(text));`;
    const { stdout, stderr } = await cluster.exec(pod, ["node", "-e", program]);
    return stdout || stderr;
  }

  /** A policy holds a moment after it was made. */
  async function becomes(pod: string, url: string, wanted: string): Promise<void> {
    let last = "";
    await waitFor({
      what: `${pod} to get ${wanted} from ${url}`,
      deadline: 60_000,
      look: async () => {
        last = await got(pod, url);
        return last === wanted || undefined;
      },
      seen: () => last,
    });
  }

  const server = { matchLabels: { app: "server" } };

  it("lets a pod get nothing that ingress does not allow, and lets the kubelet's probes pass", async () => {
    const direct = `http://${addresses.server}:8080`;
    await policy("only-friend", {
      podSelector: server,
      policyTypes: ["Ingress"],
      ingress: [{ _from: [{ podSelector: { matchLabels: { app: "friend" } } }], ports: [{ port: "open" }] }],
    });
    await becomes("stranger", direct, "nothing");
    expect(await got("stranger", "http://server")).toBe("nothing");
    expect(await got("friend", direct)).toBe("served");
    expect(await got("friend", "http://server")).toBe("served");
    expect(await got("friend", `http://${addresses.server}:8081`)).toBe("nothing");
    expect(await got("server", direct)).toBe("served");
    expect(await got("server", `http://${addresses.stranger}:8080`)).toBe("served");

    // A probe that began after the policy held: the pod is not ready after one that fails.
    const { status } = await cluster
      .exec("server", ["node", "-e", "setTimeout(() => {}, 3000)"])
      .then(() => cluster.readyPod("server"));
    const ready = status?.conditions?.find(({ type }) => type === "Ready");
    expect(ready?.lastTransitionTime?.getTime()).toBeLessThan(Date.now() - 3000);
  });

  it("lets a pod reach nothing that egress does not allow: neither pods, nor the machine, nor what its own exceptions name", async () => {
    const machine = `http://${cluster.machineAddress}:16443`;
    const before = await got("stranger", machine);
    expect(before).not.toBe("nothing");
    await policy("confined", {
      podSelector: { matchLabels: { app: "stranger" } },
      policyTypes: ["Egress"],
      egress: [
        {
          to: [
            { ipBlock: { cidr: "10.88.0.0/16", except: [`${addresses.server}/32`, `${cluster.machineAddress}/32`] } },
          ],
        },
        {
          to: [
            {
              namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } },
              podSelector: { matchLabels: { "k8s-app": "kube-dns" } },
            },
          ],
          ports: [{ port: 53, protocol: "UDP" }],
        },
      ],
    });
    await becomes("stranger", `http://${addresses.server}:8080`, "nothing");
    expect(await got("stranger", machine)).toBe("nothing");
    expect(await got("stranger", `http://${addresses.friend}:8080`)).toBe("served");
    expect(await got("friend", machine)).toBe(before);
  });

  it("goes on after the enforcer was killed", async () => {
    const direct = `http://${addresses.server}:8080`;
    await policy("closed", { podSelector: server, policyTypes: ["Ingress"] });
    await becomes("stranger", direct, "nothing");
    await cluster.lab.kill("policies");
    expect(await got("stranger", direct)).toBe("nothing");
    for (const made of policies.splice(0)) await cluster.remove(made);
    await cluster.lab.restart("policies");
    await becomes("stranger", direct, "served");
  });
});
