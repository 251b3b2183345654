import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket } from "ws";
import {
  deployerTokenHeader,
  type GatewayOptions,
  type GatewaySettings,
  type GatewayStatus,
  type RunningGateway,
  startGateway,
  type TargetInstance,
} from "../../runtime/gateway";
import { waitFor } from "../../runtime/waiting";
import { Upstream, type UpstreamOptions } from "./gateway-upstream";
import { sha256 } from "./gateway-upstream-files";

export const deployerToken = "the-deployer";
export const deployer = { [deployerTokenHeader]: deployerToken };

/** A gateway in a folder of its own, with the servers behind it. */
export class GatewayBench {
  readonly log: string[] = [];
  private readonly upstreams: Upstream[] = [];
  private readonly clients: TestClient[] = [];
  private generation = 0;
  private running: RunningGateway | null = null;

  private constructor(
    readonly folder: string,
    private readonly options: Partial<GatewayOptions>,
  ) {}

  static async create(
    settings: Partial<GatewaySettings> = {},
    options: Partial<GatewayOptions> = {},
  ): Promise<GatewayBench> {
    const bench = new GatewayBench(await mkdtemp(join(tmpdir(), "gateway-test-")), options);
    await bench.setSettings(settings);
    return bench;
  }

  get url(): string {
    if (this.running === null) throw new Error("the gateway does not run");
    return this.running.url;
  }

  async start(): Promise<void> {
    this.running = await startGateway({
      folder: this.folder,
      port: 0,
      shutdown: { keepAliveGrace: 0, deadline: 5_000 },
      log: (line) => this.log.push(line),
      ...this.options,
    });
  }

  async stop(): Promise<void> {
    const { running } = this;
    this.running = null;
    await running?.close();
  }

  async upstream(options: UpstreamOptions): Promise<Upstream> {
    const upstream = await Upstream.start(options);
    this.upstreams.push(upstream);
    return upstream;
  }

  async setSettings(settings: Partial<GatewaySettings>): Promise<void> {
    await this.replace("settings.json", {
      apiKeyHashes: [],
      deployerTokenHash: sha256(deployerToken),
      maximumBodySize: 10 * 2 ** 20,
      resultRetention: 3_600_000,
      maximumSpoolSize: 100 * 2 ** 20,
      ...settings,
    });
  }

  /** Writes targets; with a running gateway, waits until it has applied them. */
  async setTargets(serving: string | null, instances: readonly TargetInstance[]): Promise<void> {
    this.generation += 1;
    const { generation } = this;
    await this.replace("targets.json", { generation, serving, instances });
    if (this.running === null) return;
    await waitFor({
      what: `generation ${generation}`,
      deadline: 10_000,
      interval: 10,
      look: async () => ((await this.status()).generation === generation ? true : undefined),
    });
  }

  async replace(name: string, value: unknown): Promise<void> {
    const path = join(this.folder, name);
    await writeFile(`${path}.new`, JSON.stringify(value));
    await rename(`${path}.new`, path);
  }

  async status(): Promise<GatewayStatus> {
    return (await (await fetch(`${this.url}/_gateway/status`, { headers: deployer })).json()) as GatewayStatus;
  }

  /** Waits until the gateway says that an instance has drained. */
  async drained(id: string): Promise<void> {
    let seen = "";
    await waitFor({
      what: `${id} to be drained`,
      deadline: 20_000,
      interval: 20,
      look: async () => {
        const status = (await this.status()).instances.find((instance) => instance.id === id);
        seen = JSON.stringify(status);
        return status?.drained === true ? true : undefined;
      },
      seen: () => seen,
    });
  }

  async get(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, init);
  }

  async json(path: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
    return (await (await this.get(path, init)).json()) as Record<string, unknown>;
  }

  async post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return this.get(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  }

  /** Submits a prompt and returns its id. */
  async prompt(
    client: string | null,
    prompt: object = { "1": { class_type: "SaveImage", inputs: {} } },
    headers: Record<string, string> = {},
  ): Promise<string> {
    const response = await this.post("/prompt", { prompt, ...(client === null ? {} : { client_id: client }) }, headers);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`POST /prompt: ${response.status} ${text}`);
    return (JSON.parse(text) as { prompt_id: string }).prompt_id;
  }

  /** Waits for a prompt's history record. */
  async result(id: string): Promise<HistoryRecord> {
    return waitFor({
      what: `the result of ${id}`,
      deadline: 20_000,
      interval: 20,
      look: async () => (await this.json(`/history/${id}`))[id] as HistoryRecord | undefined,
    });
  }

  /** The first image that a record names, as its client gets it. */
  async image(record: HistoryRecord): Promise<Response> {
    const file = Object.values(record.outputs).flatMap(({ images }) => images ?? [])[0];
    return this.get(`/view?${new URLSearchParams(file)}`);
  }

  async socket(
    clientId: string | null,
    options: { features?: object; path?: string; headers?: Record<string, string> } = {},
  ): Promise<TestClient> {
    const { features, path = "/ws", headers = {} } = options;
    const query = clientId === null ? "" : `?clientId=${clientId}`;
    const client = new TestClient(new WebSocket(`${this.url.replace("http", "ws")}${path}${query}`, { headers }));
    this.clients.push(client);
    await client.opened;
    if (features !== undefined) client.socket.send(JSON.stringify({ type: "feature_flags", data: features }));
    return client;
  }

  async remove(): Promise<void> {
    for (const { socket } of this.clients) socket.terminate();
    await this.stop();
    await Promise.all(this.upstreams.map((upstream) => upstream.kill()));
    await rm(this.folder, { recursive: true, force: true });
  }
}

export interface HistoryRecord {
  readonly outputs: Record<string, { images?: { filename: string; subfolder: string; type: string }[] }>;
  readonly status: { status_str: string; messages: [string, Record<string, unknown>][] };
}

export interface SocketMessage {
  readonly type: string;
  readonly data: Record<string, unknown>;
}

/** A client's WebSocket with everything that came on it. */
export class TestClient {
  readonly messages: SocketMessage[] = [];
  readonly binary: Buffer[] = [];
  /** Texts that are no JSON. */
  readonly texts: string[] = [];
  readonly opened: Promise<void>;
  readonly closed: Promise<number>;

  constructor(readonly socket: WebSocket) {
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      if (isBinary) this.binary.push(data);
      else if (!data.toString().startsWith("{")) this.texts.push(data.toString());
      else this.messages.push(JSON.parse(data.toString()) as SocketMessage);
    });
    this.opened = new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    this.opened.catch(() => {});
    this.closed = new Promise((resolve) => socket.once("close", resolve));
  }

  of(type: string): readonly SocketMessage[] {
    return this.messages.filter((message) => message.type === type);
  }

  /** Types of the messages about a prompt, in order. */
  about(promptId: string): readonly string[] {
    return this.messages.filter(({ data }) => data.prompt_id === promptId).map(({ type }) => type);
  }

  async message(what: string, matches: (message: SocketMessage) => boolean): Promise<SocketMessage> {
    return waitFor({
      what,
      deadline: 15_000,
      interval: 5,
      look: () => this.messages.find(matches),
      seen: () => this.messages.map(({ type }) => type).join(" "),
    });
  }

  /** Waits for the last message about a prompt. */
  async end(promptId: string): Promise<void> {
    await this.message(
      `the last message about ${promptId}`,
      ({ type, data }) => type === "executing" && data.node === null && data.prompt_id === promptId,
    );
  }
}

export function target(
  upstream: { readonly url: string },
  id: string,
  change: Partial<TargetInstance> = {},
): TargetInstance {
  return { id, release: id.replace(/\/.*$/, ""), url: upstream.url, state: "ready", epoch: 1, ...change };
}

/** Waits for a condition that only its evidence tells about. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  await waitFor({ what, deadline: 15_000, interval: 10, look: async () => ((await condition()) ? true : undefined) });
}
