import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { annotated, json, UpstreamFiles } from "./gateway-upstream-files";

/**
 * A server that behaves towards a gateway as ComfyUI does: one worker, a queue, a history in memory, files that are counted,
 * messages in ComfyUI's order. Classes: `SaveImage` and `PreviewImage` write a file that tells who wrote it, `LoadImage` wants
 * its input to be there, `Fail` fails, everything else gives a value.
 */
export interface UpstreamOptions {
  /** What its files and answers tell it by. */
  readonly name: string;
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Milliseconds that each prompt takes; `null`: until {@link Upstream.finishOne}. Default 0. */
  readonly duration?: number | null;
}

interface Queued {
  readonly number: number;
  readonly id: string;
  readonly prompt: Record<string, { class_type: string; inputs: Record<string, unknown> }>;
  /** The request's text, of which the history repeats `prompt`. */
  readonly promptText: string;
  readonly extra: Record<string, unknown>;
}

type Message = readonly [string, Record<string, unknown>];

export class Upstream {
  /** Every request that reached it, as `METHOD /path?query`. */
  readonly requests: string[] = [];
  readonly requestHeaders: IncomingMessage["headers"][] = [];
  /** Prompts in the order in which it accepted them. */
  readonly accepted: string[] = [];
  readonly executed: string[] = [];
  readonly interrupts: string[] = [];
  readonly files: UpstreamFiles;
  readonly history = new Map<string, string>();
  port = 0;
  /** How often a client id was opened while it was open. */
  doubledSockets = 0;
  duration: number | null;
  /** What the next `POST /prompt` suffers: its connection is cut before or after the prompt was taken, or not answered then. */
  cutNextPrompt: "before" | "after" | "silent" | null = null;
  /** Prompts whose history is answered with 500. */
  readonly unreadable = new Set<string>();
  /** Requests to this path, or with `*` any, wait for its promise before they are answered. */
  readonly gates = new Map<string, Promise<void>>();

  /** Connections of clients wait for this promise before they are taken. */
  socketGate: Promise<void> = Promise.resolve();

  private readonly queue: Queued[] = [];
  private running: Queued | null = null;
  private interrupted = false;
  private numbers = 0;
  private release: (() => void) | null = null;
  private pendingReleases = 0;
  private readonly sockets = new Map<string, WebSocket>();
  private readonly webSockets = new WebSocketServer({ noServer: true });

  private constructor(
    readonly name: string,
    private readonly server: Server,
    private readonly host: string,
    duration: number | null,
  ) {
    this.duration = duration;
    this.files = new UpstreamFiles(name);
  }

  static async start({ name, port = 0, host = "127.0.0.1", duration = 0 }: UpstreamOptions): Promise<Upstream> {
    const server = createServer();
    const upstream = new Upstream(name, server, host, duration);
    server.on("request", (request, response) => void upstream.answer(request, response));
    server.on("upgrade", (request, socket, head) => {
      if (new URL(request.url ?? "/", "http://x").pathname.replace(/^\/api/, "") === "/plugin-socket") {
        upstream.webSockets.handleUpgrade(request, socket, head, (client) =>
          client.on("message", (data) => client.send(`${name} heard ${String(data)}`)),
        );
        return;
      }
      void upstream.socketGate.then(() =>
        upstream.webSockets.handleUpgrade(request, socket, head, (client) => upstream.accept(client, request)),
      );
    });
    await new Promise<void>((resolve) => server.listen(port, host, resolve));
    upstream.port = (server.address() as AddressInfo).port;
    return upstream;
  }

  get url(): string {
    return `http://${this.host}:${this.port}`;
  }

  get queueLength(): number {
    return this.queue.length + (this.running === null ? 0 : 1);
  }

  get openClients(): readonly string[] {
    return [...this.sockets.keys()];
  }

  /** Lets the running prompt, or the next one, end; for a duration of null. */
  finishOne(): void {
    const { release } = this;
    this.release = null;
    if (release === null) this.pendingReleases += 1;
    else release();
  }

  /** Lets a client's connection take no notice of what is sent to it, its closing included, until it is resumed. */
  pauseSocket(clientId: string): () => void {
    const socket = this.sockets.get(clientId);
    socket?.pause();
    return () => socket?.resume();
  }

  /** Cuts a client's connection as a broken network does. */
  cutSocket(clientId: string): void {
    this.sockets.get(clientId)?.terminate();
  }

  /** Sends one binary frame to a client, as previews are sent. */
  sendPreview(clientId: string, data: Buffer): void {
    this.sockets.get(clientId)?.send(data);
  }

  /** Bytes that were sent to a client and are still here. */
  unsent(clientId: string): number {
    return this.sockets.get(clientId)?.bufferedAmount ?? 0;
  }

  send(clientId: string, type: string, data: Record<string, unknown>): void {
    this.sockets.get(clientId)?.send(JSON.stringify({ type, data }));
  }

  /** Ends as a killed process does: every connection is cut, everything in memory is lost. */
  async kill(): Promise<void> {
    for (const socket of this.webSockets.clients) socket.terminate();
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    await closed;
  }

  private accept(client: WebSocket, request: IncomingMessage): void {
    const query = new URL(request.url ?? "/", this.url).searchParams;
    const sid = query.get("clientId") || randomUUID();
    if (this.sockets.has(sid)) this.doubledSockets += 1;
    this.sockets.set(sid, client);
    // Whichever closes, the id is forgotten: so two sockets of one client break each other.
    client.on("close", () => this.sockets.delete(sid));
    client.send(JSON.stringify({ type: "status", data: { status: this.status(), sid } }));
    let first = true;
    client.on("message", (data) => {
      const message = JSON.parse(String(data)) as { type: string };
      if (first && message.type === "feature_flags") {
        const flags = { supports_preview_metadata: true, max_upload_size: 104857600, server: this.name };
        client.send(JSON.stringify({ type: "feature_flags", data: flags }));
      }
      first = false;
    });
  }

  private status(): Record<string, unknown> {
    return { exec_info: { queue_remaining: this.queueLength } };
  }

  private broadcastStatus(): void {
    const message = JSON.stringify({ type: "status", data: { status: this.status() } });
    for (const socket of this.sockets.values()) socket.send(message);
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    // As aiohttp matches routes: decoded, but for `/` and `%`.
    const [raw = "/"] = (request.url ?? "/").split("?");
    const path = raw.replace(/(%(?!2f|25)[0-9a-f]{2})+/gi, decodeURIComponent).replace(/^\/api(?=\/)/, "");
    const poll = request.method === "GET" && path === "/prompt";
    if (!poll) {
      this.requests.push(`${request.method} ${request.url}`);
      this.requestHeaders.push(request.headers);
    }
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    await (this.gates.get("*") ?? this.gates.get(path));
    const body = Buffer.concat(chunks);
    const { host, origin } = request.headers;
    if (origin !== undefined && /^(127\.|localhost)/.test(host ?? "") && new URL(origin).host !== host) {
      response.writeHead(403).end();
      return;
    }
    const id = /^\/history\/([^{}/]+)$/.exec(path)?.[1];
    const method = request.method === "HEAD" ? "GET" : request.method;
    if (id !== undefined && this.unreadable.has(id)) return json(response, "no JSON", 500);
    if (id !== undefined) return json(response, this.historyOf([decodeURIComponent(id)]));
    switch (`${method} ${path}`) {
      case "GET /prompt":
        return json(response, JSON.stringify({ exec_info: { queue_remaining: this.queueLength } }));
      case "POST /prompt":
        return this.postPrompt(request, response, body.toString());
      case "GET /queue":
        return json(response, this.queueText());
      case "POST /queue":
        return this.postQueue(response, JSON.parse(body.toString()) as { clear?: boolean; delete?: string[] });
      case "GET /history": {
        const most = Number(url.searchParams.get("max_items") ?? this.history.size);
        return json(response, this.historyOf([...this.history.keys()].slice(-most || undefined)));
      }
      case "POST /history": {
        const { clear, delete: ids = [] } = JSON.parse(body.toString()) as { clear?: boolean; delete?: string[] };
        if (clear) this.history.clear();
        for (const each of ids) this.history.delete(each);
        response.end();
        return;
      }
      case "POST /interrupt":
        return this.interrupt(response, body.toString());
      case "GET /view":
        return this.files.view(response, url.searchParams);
      case "POST /upload/image":
      case "POST /upload/mask":
        return this.files.upload(request, response, body);
      case "GET /big":
        response.writeHead(200, { "content-type": "application/octet-stream" });
        for (let index = 0; index < 64; index += 1) response.write(Buffer.alloc(65_536, index));
        response.end();
        return;
      case "GET /events":
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write("data: first\n\n");
        return;
      case "POST /echo":
        return json(response, JSON.stringify({ bytes: body.length, url: request.url, headers: request.headers }));
      case "GET /cut":
        response.writeHead(200, { "content-length": 1000 });
        response.write("half");
        setImmediate(() => response.destroy());
        return;
      case "GET /":
      case "GET /system_stats":
        return json(response, JSON.stringify({ server: this.name, url: request.url }));
      default:
        response.writeHead(404).end();
    }
  }

  private postPrompt(request: IncomingMessage, response: ServerResponse, text: string): void {
    const cut = this.cutNextPrompt;
    this.cutNextPrompt = null;
    if (cut === "before") {
      request.socket.destroy();
      return;
    }
    let body: {
      prompt_id?: string;
      client_id?: string;
      prompt?: Queued["prompt"];
      extra_data?: object;
      front?: boolean;
    };
    try {
      body = JSON.parse(text) as typeof body;
    } catch {
      response.writeHead(500, { "content-type": "text/plain; charset=utf-8" });
      response.end("500 Internal Server Error\n\nServer got itself in trouble");
      return;
    }
    const prompt = body.prompt ?? {};
    const missing = Object.values(prompt).find(
      ({ class_type, inputs }) => class_type === "LoadImage" && !this.files.has(annotated(String(inputs.image))),
    );
    if (missing !== undefined || Object.keys(prompt).length === 0) {
      const type = missing === undefined ? "prompt_no_outputs" : "prompt_outputs_failed_validation";
      const message = missing === undefined ? "Prompt has no outputs" : `Invalid image file: ${missing.inputs.image}`;
      json(response, JSON.stringify({ error: { type, message, details: "", extra_info: {} }, node_errors: {} }), 400);
      return;
    }
    const number = body.front ? -this.numbers : this.numbers;
    this.numbers += 1;
    const id = String(body.prompt_id ?? randomUUID());
    const extra = { ...body.extra_data, ...(body.client_id === undefined ? {} : { client_id: body.client_id }) };
    const promptText = /"prompt"\s*:\s*(\{.*\})/s.exec(text)?.[1] === undefined ? "{}" : extractPrompt(text);
    this.queue.push({ number, id, prompt, promptText, extra });
    this.queue.sort((a, b) => a.number - b.number);
    this.accepted.push(id);
    this.broadcastStatus();
    if (cut === "after") request.socket.destroy();
    else if (cut === null) json(response, JSON.stringify({ prompt_id: id, number, node_errors: {} }));
    void this.work();
  }

  private async work(): Promise<void> {
    if (this.running !== null) return;
    const job = this.queue.shift();
    if (job === undefined) return;
    this.running = job;
    this.interrupted = false;
    this.broadcastStatus();
    const client = String(job.extra.client_id ?? "");
    const messages: Message[] = [];
    const stamp = { prompt_id: job.id, timestamp: Date.now() };
    const tell = (type: string, data: Record<string, unknown>, kept = false) => {
      if (kept) messages.push([type, data]);
      this.send(client, type, data);
    };
    tell("execution_start", stamp, true);
    tell("execution_cached", { nodes: [], ...stamp }, true);
    const outputs: Record<string, unknown> = {};
    await this.untilFinished();
    let failure: string | null = null;
    for (const [node, { class_type, inputs }] of Object.entries(job.prompt)) {
      if (this.interrupted || failure !== null) break;
      tell("executing", { node, display_node: node, prompt_id: job.id });
      tell("progress", { value: 1, max: 1, prompt_id: job.id, node });
      if (class_type === "Fail") failure = String(inputs.message ?? "as asked");
      else {
        outputs[node] = this.files.draw(class_type, job.id, inputs);
        tell("executed", { node, display_node: node, output: outputs[node], prompt_id: job.id });
      }
    }
    const data = { prompt_id: job.id, timestamp: Date.now() };
    if (this.interrupted) tell("execution_interrupted", { ...data, node_id: "1", executed: [] }, true);
    else if (failure !== null) tell("execution_error", { ...data, exception_message: failure, executed: [] }, true);
    else tell("execution_success", data, true);
    const success = !this.interrupted && failure === null;
    const status = { status_str: success ? "success" : "error", completed: success, messages };
    const item = `[${job.number}, ${JSON.stringify(job.id)}, ${job.promptText}, ${JSON.stringify(job.extra)}, []]`;
    this.history.set(
      job.id,
      `{"prompt": ${item}, "outputs": ${JSON.stringify(outputs)}, "status": ${JSON.stringify(status)}, "meta": {}}`,
    );
    this.executed.push(job.id);
    this.running = null;
    this.broadcastStatus();
    tell("executing", { node: null, prompt_id: job.id });
    void this.work();
  }

  private async untilFinished(): Promise<void> {
    if (this.duration !== null) {
      await new Promise((resolve) => setTimeout(resolve, this.duration ?? 0));
      return;
    }
    if (this.pendingReleases > 0) {
      this.pendingReleases -= 1;
      return;
    }
    await new Promise<void>((resolve) => {
      this.release = resolve;
    });
    this.release = null;
  }

  private queueText(): string {
    const item = ({ number, id, promptText, extra }: Queued) =>
      `[${number}, ${JSON.stringify(id)}, ${promptText}, ${JSON.stringify(extra)}, []]`;
    const running = this.running === null ? "" : item(this.running);
    return `{"queue_running": [${running}], "queue_pending": [${this.queue.map(item).join(", ")}]}`;
  }

  private postQueue(
    response: ServerResponse,
    { clear, delete: ids = [] }: { clear?: boolean; delete?: string[] },
  ): void {
    const kept = clear ? [] : this.queue.filter(({ id }) => !ids.includes(id));
    this.queue.splice(0, this.queue.length, ...kept);
    this.broadcastStatus();
    response.end();
  }

  private interrupt(response: ServerResponse, body: string): void {
    const id = body === "" ? undefined : (JSON.parse(body) as { prompt_id?: string }).prompt_id;
    this.interrupts.push(id ?? "");
    if (this.running !== null && (id === undefined || id === this.running.id)) {
      this.interrupted = true;
      this.release?.();
    }
    response.end();
  }

  private historyOf(ids: readonly string[]): string {
    const records = ids.flatMap((id) => {
      const record = this.history.get(id);
      return record === undefined ? [] : [`${JSON.stringify(id)}: ${record}`];
    });
    return `{${records.join(", ")}}`;
  }
}

/** The text of a request's `prompt`, as it was sent: numbers keep their digits. */
function extractPrompt(text: string): string {
  const start = text.indexOf("{", text.search(/"prompt"\s*:/));
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === "{") depth += 1;
    if (text[at] === "}") depth -= 1;
    if (depth === 0) return text.slice(start, at + 1);
  }
  return "{}";
}
