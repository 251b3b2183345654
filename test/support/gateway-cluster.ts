import { randomBytes, randomInt } from "node:crypto";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { WebSocket } from "ws";
import type { ClusterGatewayStatus } from "../../runtime/gateway/kubernetes/status-object";
import { ApiError } from "../../runtime/kubernetes/api";
import { waitFor } from "../../runtime/waiting";
import type { ApiServer } from "./api-server";
import { deployer, deployerToken, type HistoryRecord, TestClient } from "./gateway-bench";
import { bundleGateway, GatewayProgram } from "./gateway-program";
import { Upstream } from "./gateway-upstream";
import { temporaryFolder } from "./trees";

const service = "studio";
const port = 8188;

/** One service in a namespace of its own: its objects, the servers in its pods, and gateways as programs of their own. */
export class GatewayCluster {
  readonly namespace = `test-${randomBytes(4).toString("hex")}`;
  readonly gateways: ClusterGateway[] = [];
  readonly pods: TestPod[] = [];
  private readonly clients: TestClient[] = [];
  private readonly folder = temporaryFolder();
  private readonly network = `127.${randomInt(1, 255)}.${randomInt(0, 255)}`;
  private addresses = 0;
  private generation = 0;
  private bundle = "";

  private constructor(readonly server: ApiServer) {}

  static async create(server: ApiServer, settings: object = {}): Promise<GatewayCluster> {
    const cluster = new GatewayCluster(server);
    cluster.bundle = await bundleGateway(cluster.folder.path);
    await cluster.post("/api/v1/namespaces", { metadata: { name: cluster.namespace } });
    await cluster.allow();
    const base64 = (text: string) => Buffer.from(text).toString("base64");
    await cluster.post(cluster.of("secrets"), {
      metadata: { name: `${service}-deployer` },
      data: { token: base64(deployerToken) },
    });
    const all = {
      apiKeyHashes: [],
      maximumBodySize: 100 * 2 ** 20,
      resultRetention: 3_600_000,
      maximumSpoolSize: 200 * 2 ** 20,
      ...settings,
    };
    await cluster.post(cluster.of("secrets"), {
      metadata: { name: `${service}-gateway` },
      data: { "settings.json": base64(JSON.stringify(all)) },
    });
    await cluster.post(cluster.of("configmaps"), {
      metadata: { name: `${service}-target` },
      data: { "target.json": JSON.stringify({ generation: 0, release: null, revision: 0, draining: [] }) },
    });
    return cluster;
  }

  /** An address of this machine that nobody else has. */
  address(): string {
    this.addresses += 1;
    return `${this.network}.${this.addresses}`;
  }

  async serve(release: string | null, draining: readonly string[] = []): Promise<number> {
    this.generation += 1;
    await this.patch(this.of("configmaps", `${service}-target`), {
      data: { "target.json": JSON.stringify({ generation: this.generation, release, revision: 1, draining }) },
    });
    return this.generation;
  }

  /** A pod of a release, with a server in it; Ready unless said otherwise. */
  async pod(
    release: string,
    name: string,
    options: { ready?: boolean; duration?: number | null; owner?: string } = {},
  ): Promise<TestPod> {
    const host = this.address();
    const upstream = await Upstream.start({
      name,
      host,
      port,
      ...(options.duration === undefined ? {} : { duration: options.duration }),
    });
    const pod = new TestPod(this, release, name, host, upstream, await TestAgent.start(host));
    this.pods.push(pod);
    await pod.create(options.owner ?? `${service}-${release}-abc12`);
    if (options.ready !== false) await pod.setReady(true);
    return pod;
  }

  /** Starts a gateway, and waits until it is ready for clients. */
  async gateway(
    options: { kubeconfig?: string; waits?: boolean; parameters?: readonly string[] } = {},
  ): Promise<ClusterGateway> {
    const host = this.address();
    const name = `${service}-${this.gateways.length}`;
    const kubeconfig = options.kubeconfig ?? this.server.kubeconfig("gateway");
    const folder = join(this.folder.path, name);
    const { parameters = [] } = options;
    const gateway = new ClusterGateway(this, name, host, folder, kubeconfig, this.bundle, parameters);
    this.gateways.push(gateway);
    gateway.start();
    await gateway.program.listening();
    if (options.waits !== false) await gateway.ready();
    return gateway;
  }

  /** The gateway that leads, as it says itself in its status. */
  async leader(): Promise<ClusterGateway> {
    const holder = await waitFor({
      what: "a gateway to lead",
      deadline: 120_000,
      look: async () => (await this.holder()) || undefined,
      seen: () => this.gateways.map(({ name, program }) => `${name}: ${program.output.slice(-600)}`).join("\n"),
    });
    const leader = this.gateways.find(({ name, host }) => `${name}_${host}` === holder);
    if (leader === undefined) throw new Error(`${holder} is no gateway of this test`);
    return leader;
  }

  /** Identity of who holds the Lease; empty when nobody does. */
  async holder(): Promise<string> {
    try {
      const path = `/apis/coordination.k8s.io/v1/namespaces/${this.namespace}/leases/${service}-gateway`;
      const lease = (await this.server.api.request({ path })) as { spec: { holderIdentity?: string } };
      return lease.spec.holderIdentity ?? "";
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return "";
      throw error;
    }
  }

  /** What the leader has written; undefined before it has. */
  async status(): Promise<ClusterGatewayStatus | undefined> {
    try {
      const { data } = (await this.get(this.of("configmaps", `${service}-gateway-status`))) as {
        data?: Record<string, string>;
      };
      const text = data?.["status.json"];
      return text === undefined ? undefined : (JSON.parse(text) as ClusterGatewayStatus);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  async statusSays(
    what: string,
    matches: (status: ClusterGatewayStatus) => boolean,
    deadline = 120_000,
  ): Promise<void> {
    let seen = "";
    await waitFor({
      what: `the status to say ${what}`,
      deadline,
      look: async () => {
        const status = await this.status();
        seen = JSON.stringify(status);
        return status !== undefined && matches(status) ? true : undefined;
      },
      seen: () =>
        `${seen}\n${this.gateways.map(({ name, program }) => `${name}: ${program.output.slice(-600)}`).join("\n")}`,
    });
  }

  async socket(gateway: ClusterGateway, clientId: string): Promise<TestClient> {
    const client = new TestClient(new WebSocket(`${gateway.url.replace("http", "ws")}/ws?clientId=${clientId}`));
    client.socket.on("error", () => {});
    this.clients.push(client);
    await client.opened;
    return client;
  }

  async remove(): Promise<void> {
    for (const { socket } of this.clients) socket.terminate();
    await Promise.all(this.gateways.map((gateway) => gateway.kill()));
    await Promise.all(this.pods.map((pod) => pod.stop()));
    this.folder.remove();
  }

  get(path: string): Promise<unknown> {
    return this.server.api.request({ path, timeout: 20_000 });
  }

  post(path: string, body: object): Promise<unknown> {
    return this.server.api.request({ method: "POST", path, body, timeout: 20_000 });
  }

  patch(path: string, body: object, query: Record<string, string> = {}): Promise<unknown> {
    const contentType = "application/merge-patch+json";
    return this.server.api.request({ method: "PATCH", path, query, body, contentType, timeout: 20_000 });
  }

  of(kind: string, name?: string): string {
    return `/api/v1/namespaces/${this.namespace}/${kind}${name === undefined ? "" : `/${name}`}`;
  }

  /** What a gateway needs to be allowed, and no more. */
  private async allow(): Promise<void> {
    const path = `/apis/rbac.authorization.k8s.io/v1/namespaces/${this.namespace}`;
    await this.post(`${path}/roles`, { metadata: { name: `${service}-gateway` }, rules: gatewayRules });
    await this.post(`${path}/rolebindings`, {
      metadata: { name: `${service}-gateway` },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: `${service}-gateway` },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "gateway" }],
    });
  }
}

const look = ["get", "list", "watch"];
export const gatewayRules = [
  { apiGroups: [""], resources: ["configmaps"], resourceNames: [`${service}-target`], verbs: look },
  {
    apiGroups: [""],
    resources: ["secrets"],
    resourceNames: [`${service}-gateway`, `${service}-deployer`],
    verbs: look,
  },
  {
    apiGroups: [""],
    resources: ["configmaps"],
    resourceNames: [`${service}-gateway-status`],
    verbs: ["get", "update"],
  },
  { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
  { apiGroups: [""], resources: ["pods"], verbs: ["list", "watch", "patch"] },
  {
    apiGroups: ["coordination.k8s.io"],
    resources: ["leases"],
    resourceNames: [`${service}-gateway`],
    verbs: [...look, "update"],
  },
  { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
];

/** A pod as an object, and what listens at its address. */
export class TestPod {
  private restarts = 0;
  private readonly startedAt = new Date(Date.now() - 60_000).toISOString().replace(/\.\d+/, "");

  constructor(
    private readonly cluster: GatewayCluster,
    readonly release: string,
    /** What its name has after the Deployment's. */
    readonly suffix: string,
    readonly host: string,
    readonly upstream: Upstream,
    readonly agent: TestAgent,
  ) {}

  get name(): string {
    return `${service}-${this.release}-${this.suffix}`;
  }

  get id(): string {
    return `${this.release}/${this.suffix}`;
  }

  private get path(): string {
    return this.cluster.of("pods", this.name);
  }

  async create(owner: string): Promise<void> {
    await this.cluster.post(this.cluster.of("pods"), {
      metadata: {
        name: this.name,
        labels: {
          "app.kubernetes.io/name": "comfyui",
          "app.kubernetes.io/instance": service,
          "app.kubernetes.io/component": "instance",
          "app.kubernetes.io/managed-by": "pulumi-comfyui",
          "pulumi-comfyui/release": this.release,
        },
        ownerReferences: [
          {
            apiVersion: "apps/v1",
            kind: "ReplicaSet",
            name: owner,
            uid: "4d3f4c7e-0000-4000-8000-000000000000",
            controller: true,
          },
        ],
      },
      // Of a node, so that it is deleted in two steps.
      spec: { nodeName: "node", containers: [{ name: "comfyui", image: "comfyui" }] },
    });
    await this.setReady(false);
  }

  async setReady(ready: boolean): Promise<void> {
    const now = new Date().toISOString().replace(/\.\d+/, "");
    await this.setStatus({
      phase: "Running",
      podIP: this.host,
      podIPs: [{ ip: this.host }],
      conditions: [
        // One that was never Ready has that since it is there.
        { type: "Ready", status: ready ? "True" : "False", lastTransitionTime: this.wasReady ? now : this.startedAt },
      ],
      containerStatuses: [
        {
          name: "comfyui",
          ready,
          restartCount: this.restarts,
          image: "comfyui",
          imageID: "comfyui",
          state: { running: { startedAt: this.startedAt } },
        },
      ],
    });
    this.wasReady ||= ready;
  }
  private wasReady = false;

  setStatus(status: object): Promise<unknown> {
    return this.cluster.patch(`${this.path}/status`, { status });
  }

  /** As after its container was started again. */
  async restart(): Promise<void> {
    this.restarts += 1;
    await this.setReady(true);
  }

  /** Asks for its deletion; it stays until {@link vanish}. */
  async delete(): Promise<void> {
    await this.cluster.server.api.request({ method: "DELETE", path: this.path, query: { gracePeriodSeconds: "300" } });
  }

  async vanish(): Promise<void> {
    await this.cluster.server.api.request({ method: "DELETE", path: this.path, query: { gracePeriodSeconds: "0" } });
  }

  async annotations(): Promise<Record<string, string>> {
    const { metadata } = (await this.cluster.get(this.path)) as { metadata: { annotations?: Record<string, string> } };
    return metadata.annotations ?? {};
  }

  async stop(): Promise<void> {
    await this.upstream.kill();
    this.agent.stop();
  }
}

/** What listens at an agent's port: notes what it is told. */
export class TestAgent {
  readonly told: string[] = [];
  /** Words that are refused before one is taken. */
  refusals = 0;

  private constructor(private readonly server: Server) {}

  static async start(host: string): Promise<TestAgent> {
    const server = createServer();
    const agent = new TestAgent(server);
    server.on("request", (request, response) => {
      if (agent.refusals > 0) {
        agent.refusals -= 1;
        response.writeHead(500).end();
        return;
      }
      agent.told.push(`${request.method} ${request.url}`);
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(8199, host, resolve));
    return agent;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** A gateway's pod: its program, its address, its folder. */
export class ClusterGateway {
  private running: GatewayProgram | null = null;

  constructor(
    private readonly cluster: GatewayCluster,
    readonly name: string,
    readonly host: string,
    readonly folder: string,
    private readonly kubeconfig: string,
    private readonly bundle: string,
    private readonly parameters: readonly string[],
  ) {}

  get url(): string {
    return `http://${this.host}:${port}`;
  }

  get program(): GatewayProgram {
    if (this.running === null) throw new Error(`${this.name} does not run`);
    return this.running;
  }

  /** Also once more, with the same folder. */
  start(): void {
    const parameters = ["--service", service, "--host", this.host, "--port", String(port), "--folder", this.folder];
    this.running = new GatewayProgram(this.bundle, ["kubernetes", ...parameters, ...this.parameters], undefined, {
      PATH: process.env.PATH,
      KUBECONFIG: this.kubeconfig,
      POD_NAME: this.name,
      POD_NAMESPACE: this.cluster.namespace,
      POD_IP: this.host,
    });
  }

  async isReady(): Promise<boolean> {
    try {
      return (await fetch(`${this.url}/_gateway/ready`, { signal: AbortSignal.timeout(2_000) })).status === 200;
    } catch {
      return false;
    }
  }

  async ready(): Promise<void> {
    await waitFor({
      what: `${this.name} to be ready`,
      deadline: 120_000,
      interval: 50,
      look: async () => ((await this.isReady()) ? true : undefined),
      seen: () => this.program.output.slice(-2_000),
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.program.child.kill(signal);
  }

  async kill(): Promise<void> {
    await this.running?.kill();
  }

  async json(path: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
    const response = await fetch(`${this.url}${path}`, init);
    return (await response.json()) as Record<string, unknown>;
  }

  async status(): Promise<Record<string, unknown>> {
    return this.json("/_gateway/status", { headers: deployer });
  }

  async prompt(
    client: string,
    id?: string,
    prompt: object = { "1": { class_type: "SaveImage", inputs: {} } },
  ): Promise<string> {
    const response = await fetch(`${this.url}/prompt`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt, client_id: client, ...(id === undefined ? {} : { prompt_id: id }) }),
    });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`POST /prompt: ${response.status} ${text}`);
    return (JSON.parse(text) as { prompt_id: string }).prompt_id;
  }

  async result(id: string): Promise<HistoryRecord> {
    return waitFor({
      what: `the result of ${id}`,
      deadline: 120_000,
      interval: 20,
      look: async () => (await this.json(`/history/${id}`))[id] as HistoryRecord | undefined,
      seen: () => this.program.output.slice(-1_000),
    });
  }

  async image(record: HistoryRecord): Promise<string> {
    const file = Object.values(record.outputs).flatMap(({ images }) => images ?? [])[0];
    return (await fetch(`${this.url}/view?${new URLSearchParams(file)}`)).text();
  }
}
