import { NetworkingV1Api } from "@kubernetes/client-node";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { hostAnnotation, labelsOf } from "../../runtime/kubernetes";
import { ApiLink, ApiServer } from "../support/api-server";
import { runCli } from "../support/cli-run";
import { CollectedStream, temporaryFolder } from "../support/cli-surroundings";
import { WrittenNamespace, type WrittenService } from "../support/cluster-objects";
import { owner } from "../support/supervisor-platform";

let server: ApiServer;
let namespace: WrittenNamespace;

beforeAll(async () => {
  server = await ApiServer.start();
});
afterAll(() => server.stop());
beforeEach(async () => {
  namespace = await WrittenNamespace.create(server, owner);
});

/** Serves with one instance, which has two prompts. */
async function serving(): Promise<{ readonly service: WrittenService; readonly release: string }> {
  const service = await namespace.service();
  const release = await service.release(["started", "proven", "serving"]);
  await service.serve(release);
  await service.pod({ name: `studio-${release}-7d9f-abcde`, release, restarts: 3 });
  const instance = {
    id: `${release}/7d9f-abcde`,
    state: "ready",
    inFlight: 1,
    queueRemaining: 2,
    drained: false,
  } as const;
  await service.gateway(["studio-1", "studio-2"], [instance]);
  return { service, release };
}

describe("status of a namespace", () => {
  it("shows a service's releases, pods with their queues, and gateways, and finds it healthy", async () => {
    const { release } = await serving();

    const { code, stdout } = await runCli(["status", ...namespace.options]);

    expect(stdout).toContain(`namespace ${namespace.name} of https://127.0.0.1:${server.port} (context test)`);
    expect(stdout).toContain(
      `Service studio: serves ${release} at http://studio.${namespace.name}.svc:8188, stack acme/studio/dev`,
    );
    expect(stdout).toMatch(new RegExp(`${release} +serving +1 `));
    expect(stdout).toMatch(new RegExp(`7d9f-abcde +${release} +proven +\\S+ +2 +3 +node-1`));
    expect(stdout).toMatch(/studio-1 +yes +yes +\S+ +0 +node-1/);
    expect(stdout).toMatch(/studio-2 +yes +no +/);
    expect([code, stdout.includes("Healthy.")]).toEqual([0, true]);
  });

  it("tells where people reach a service through its entrance, as soon as the load balancer has an address", async () => {
    await serving();
    const { core, namespace: name } = namespace.cluster;
    const metadata = { name: "studio-entrance", labels: labelsOf("studio", "gateway") };
    const ports = [{ name: "https", port: 8443, targetPort: 8188 }];
    const url = async () => (await runCli(["status", ...namespace.options])).stdout.match(/ at (\S+), stack/)?.[1];
    await core.createNamespacedService({
      namespace: name,
      body: { metadata, spec: { type: "LoadBalancer", loadBalancerClass: "service.k8s.aws/nlb", ports } },
    });
    expect(await url()).toBe(`http://studio.${name}.svc:8188`);

    const service = await core.readNamespacedService({ name: metadata.name, namespace: name });
    const status = { loadBalancer: { ingress: [{ hostname: "k8s.elb.amazonaws.com" }] } };
    await core.replaceNamespacedServiceStatus({ name: metadata.name, namespace: name, body: { ...service, status } });
    expect(await url()).toBe("https://k8s.elb.amazonaws.com:8443");
    await core.deleteNamespacedService({ name: metadata.name, namespace: name });

    const networking = namespace.cluster.config.makeApiClient(NetworkingV1Api);
    const backend = { service: { name: "studio", port: { number: 8188 } } };
    const annotations = {
      "alb.ingress.kubernetes.io/certificate-arn": "arn",
      [hostAnnotation]: "studio.example.com",
    };
    await networking.createNamespacedIngress({
      namespace: name,
      body: {
        metadata: { ...metadata, annotations },
        spec: { rules: [{ http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }] },
      },
    });
    expect(await url()).toBe("https://studio.example.com");
  });

  it("gives the same as one JSON document", async () => {
    const { release } = await serving();

    const { code, json } = await runCli(["status", "studio", "--json", ...namespace.options]);

    expect(code).toBe(0);
    expect(json).toMatchObject({
      namespace: namespace.name,
      context: "test",
      healthy: true,
      services: [
        {
          name: "studio",
          owner,
          serving: release,
          gateway: {
            wanted: 2,
            pods: [
              { name: "studio-1", leads: true },
              { name: "studio-2", leads: false },
            ],
          },
          releases: [{ id: release, count: 1, events: [{ event: "created" }, {}, {}, { event: "serving" }] }],
          instances: [{ release, phase: "proven", queueRemaining: 2, restarts: 3, node: "node-1" }],
        },
      ],
    });
  });

  it("says what is not as declared: a plugin that fails in a candidate, a gateway that is not ready, none that leads", async () => {
    const { service } = await serving();
    const candidate = await service.release(["started"]);
    const evidence = JSON.stringify({ phase: "importing", reason: "plugin caption did not load" });
    const terminated = { exitCode: 70, message: evidence };
    await service.pod({
      name: `studio-${candidate}-5c5c-xyzzy`,
      release: candidate,
      ready: false,
      agent: { state: { running: {} }, lastState: { terminated } },
    });
    await namespace.cluster.core.deleteNamespacedPod({ name: "studio-1", namespace: namespace.name });

    const { code, json } = await runCli(["status", "--json", ...namespace.options]);

    expect(code).toBe(3);
    expect(json).toMatchObject({
      healthy: false,
      problems: [
        "1 of 2 gateways of service studio is ready",
        "no gateway of service studio leads",
        `instance ${candidate}/5c5c-xyzzy failed: plugin caption did not load`,
      ],
    });
  });

  it("answers no where nothing is, nothing of that name, and no such namespace", async () => {
    const { options, name } = namespace;
    const empty = await runCli(["status", ...options]);
    await serving();
    const unknown = await runCli(["status", "prod", ...options]);
    const nowhere = await runCli(["status", "--namespace", "nowhere", "--kubeconfig", namespace.kubeconfig]);

    expect([empty.code, unknown.code, nowhere.code]).toEqual([3, 3, 3]);
    expect(empty.stdout).toContain(`nothing is deployed in namespace ${name}`);
    expect(unknown.stdout).toContain("no service or workstation prod");
    expect(nowhere.stdout).toContain("there is no namespace nowhere");
  });

  it("takes a kubeconfig, a context or a folder that cannot be meant as bad input", async () => {
    const noFile = await runCli(["status", "--namespace", "studio", "--kubeconfig", "nowhere"], {
      cwd: temporaryFolder(),
    });
    const noContext = await runCli(["status", ...namespace.options, "--context", "prod"]);
    const noNamespace = await runCli(["status", "--kubeconfig", namespace.kubeconfig]);
    const both = await runCli(["status", ...namespace.options, "--directory", "."]);

    expect([noFile.code, noContext.code, noNamespace.code, both.code]).toEqual([2, 2, 2, 2]);
    expect(noContext.stderr).toContain('--context: there is no context "prod" in the kubeconfig; it has test');
    expect(noNamespace.stderr).toContain("--kubeconfig: needs --namespace");
    expect(both.stderr).toContain("--directory");
  });

  it("fails when it may not look, or nothing answers, instead of calling it empty", async () => {
    const stranger = await runCli([
      "status",
      "--namespace",
      namespace.name,
      "--kubeconfig",
      server.kubeconfig("nobody"),
    ]);
    const link = await ApiLink.to(server.port);
    const kubeconfig = server.kubeconfig("admin", link.port);
    link.close();
    const away = await runCli(["status", "--namespace", namespace.name, "--kubeconfig", kubeconfig]);

    expect([stranger.code, away.code]).toEqual([1, 1]);
    expect(stranger.stderr).toContain("403 Forbidden");
  });

  it("knows the workstation of a namespace by its record, its pod and what its agent tells", async () => {
    const { cluster } = namespace;
    const service = await namespace.service();
    const put = (name: string, data: Record<string, string>, annotations = {}) =>
      cluster.core.createNamespacedConfigMap({
        namespace: namespace.name,
        body: { metadata: { ...service.metadata("workstation", name), annotations }, data },
      });
    const record = { format: 1, claim: { owner, since: "2026-01-01T10:00:00Z" }, state: "running" };
    await put("studio-workstation-record", { "record.json": JSON.stringify(record) });
    await service.pod({ name: "studio-workstation-1", part: "workstation" });
    const told = { protocol: 1, workstation: "studio", pod: "studio-workstation-1", phase: "running", detail: "" };
    const more = { blocked: null, start: 2, queueRemaining: 4 };
    await put("studio-workstation", { "status.json": JSON.stringify({ ...told, ...more }) });

    const { json } = await runCli(["status", "--json", ...namespace.options]);

    expect(json).toMatchObject({
      workstations: [{ name: "studio", declared: "running", phase: "running", queueRemaining: 4, restarts: 1 }],
    });
  });
});

describe("status --watch of a namespace", () => {
  it("shows what changes by watches, through an API server that restarts, until it is interrupted", async () => {
    const { service, release } = await serving();
    const abort = new AbortController();
    const link = await ApiLink.to(server.port);
    let later = "";
    const stdout = new (class extends CollectedStream {
      override write(text: string): void {
        super.write(text);
        if (this.writes.length === 1) {
          link.cut();
          link.open();
          void service.release(["started"], { objects: false }).then((id) => {
            later = id;
          });
        }
        if (later !== "" && text.includes(later)) abort.abort();
      }
    })(null);

    const { code } = await runCli(
      ["status", "--watch", "--namespace", namespace.name, "--kubeconfig", server.kubeconfig("admin", link.port)],
      { stdout, signal: abort.signal },
    );
    link.close();

    expect(code).toBe(0);
    expect(stdout.writes[0]).toContain(`serves ${release}`);
    expect(stdout.text).toMatch(new RegExp(`${later} +started`));
  });
});

describe("history of a namespace", () => {
  it("shows each release with its events and snapshot, and the pin that rolls back", async () => {
    const service = await namespace.service();
    const old = `${temporaryFolder()}#sha256:${"a".repeat(64)}`;
    const first = await service.release(["started", "proven", "serving", "draining", "drained", "removed"], {
      snapshot: old,
      objects: false,
    });
    const second = await service.release(["started", "proven", "serving"], { objects: false });
    await service.serve(second);

    const { code, stdout } = await runCli(["history", "studio", ...namespace.options]);
    const document = await runCli(["history", "--json", ...namespace.options]);
    const unknown = await runCli(["history", "prod", ...namespace.options]);

    expect([code, document.code, unknown.code]).toEqual([0, 0, 2]);
    expect(stdout).toContain(`Service studio: serves ${second}, stack acme/studio/dev`);
    expect(stdout).toContain(`revision 2  ${second}  (serving)`);
    expect(stdout).toContain(`To roll back to ${first}`);
    expect(stdout).toContain(`snapshot: "${old}",`);
    expect(document.json).toMatchObject({
      namespace: namespace.name,
      services: [{ name: "studio", serving: second, rollback: { release: first, snapshot: old, stored: false } }],
    });
  });

  it("says when the store of a rollback cannot be looked at from here", async () => {
    const service = await namespace.service();
    const first = await service.release(["serving"], { snapshot: `relative#sha256:${"b".repeat(64)}`, objects: false });
    const second = await service.release(["serving"], { objects: false });
    await service.serve(second);

    const { code, json, stderr } = await runCli(["history", "--json", ...namespace.options]);

    expect(code).toBe(0);
    expect(json).toMatchObject({ services: [{ rollback: { release: first, stored: null } }] });
    expect(stderr).toContain("cannot be told from here");
  });
});
