import { request as plainRequest } from "node:http";
import { Agent, type RequestOptions, request } from "node:https";
import type { KubeConfig } from "@kubernetes/client-node";
import { isValues, listAt, textAt, type Values } from "../plugin-base/values";
import { apiVersionOf, kindOf, nameOf, namespaceOf } from "./objects";

/** What the API server answered instead of what was asked for. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly code: number,
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
  get isNotFound(): boolean {
    return this.code === 404;
  }
  get isAlreadyExists(): boolean {
    return this.reason === "AlreadyExists";
  }
  get isConflict(): boolean {
    return this.code === 409 && this.reason === "Conflict";
  }
}

/** No resource of this API version and kind is served. */
export class UnknownKind extends Error {
  override name = "UnknownKind";
  constructor(apiVersion: string, kind: string) {
    super(`no matches for kind "${kind}" in version "${apiVersion}"`);
  }
}

interface Resource {
  readonly path: string;
  readonly namespaced: boolean;
}

export interface ApplyOptions {
  readonly fieldManager: string;
  readonly force: boolean;
  readonly dryRun: boolean;
}

type Query = Readonly<Record<string, string | undefined>>;

/** Objects of any kind, as JSON: the typed clients leave out what they do not know. */
export class Api {
  private readonly agent: Promise<RequestOptions>;
  private readonly base: URL;
  private readonly resources = new Map<string, Resource>();

  constructor(kubeConfig: KubeConfig) {
    const cluster = kubeConfig.getCurrentCluster();
    if (cluster === null) throw new Error("the kubeconfig names no cluster");
    this.base = new URL(cluster.server);
    this.agent = connectionOptions(kubeConfig);
  }

  /** Throws when the API server cannot be reached, or takes these credentials for nobody's. */
  async probe(): Promise<void> {
    await this.call("GET", "/openapi/v3");
  }

  async isNamespaced(apiVersion: string, kind: string): Promise<boolean> {
    return (await this.resource(apiVersion, kind)).namespaced;
  }

  async isServed(object: Values): Promise<boolean> {
    try {
      await this.resource(apiVersionOf(object), kindOf(object));
      return true;
    } catch (error) {
      if (error instanceof UnknownKind) return false;
      throw error;
    }
  }

  /** The live object, or undefined. */
  async get(object: Values): Promise<Values | undefined> {
    try {
      return await this.call("GET", await this.pathOf(object));
    } catch (error) {
      if (error instanceof ApiError && error.isNotFound) return undefined;
      throw error;
    }
  }

  async list(apiVersion: string, kind: string, namespace: string, query: Query = {}): Promise<readonly Values[]> {
    const { path } = await this.resource(apiVersion, kind);
    const list = await this.call("GET", `${folder(apiVersion, namespace)}/${path}`, { query });
    return listAt(list, "items").filter(isValues);
  }

  async create(object: Values, fieldManager: string, dryRun: boolean): Promise<Values> {
    const { path, namespaced } = await this.resource(apiVersionOf(object), kindOf(object));
    const namespace = namespaced ? namespaceOf(object) || "default" : "";
    return this.call("POST", `${folder(apiVersionOf(object), namespace)}/${path}`, {
      query: { fieldManager, dryRun: dryRun ? "All" : undefined, fieldValidation: "Warn" },
      body: object,
    });
  }

  async apply(object: Values, { fieldManager, force, dryRun }: ApplyOptions): Promise<Values> {
    return this.call("PATCH", await this.pathOf(object), {
      query: { fieldManager, force: String(force), dryRun: dryRun ? "All" : undefined, fieldValidation: "Warn" },
      // JSON is YAML.
      type: "application/apply-patch+yaml",
      body: object,
    });
  }

  async patch(object: Values, type: string, body: unknown, query: Query = {}): Promise<Values> {
    return this.call("PATCH", await this.pathOf(object), { type, body, query });
  }

  async replace(object: Values, fieldManager: string, dryRun: boolean): Promise<Values> {
    const query = { fieldManager, dryRun: dryRun ? "All" : undefined };
    return this.call("PUT", await this.pathOf(object), { body: object, query });
  }

  async delete(object: Values, propagationPolicy: string): Promise<void> {
    await this.call("DELETE", await this.pathOf(object), {
      body: { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy },
    });
  }

  private async pathOf(object: Values): Promise<string> {
    const { path, namespaced } = await this.resource(apiVersionOf(object), kindOf(object));
    const namespace = namespaced ? namespaceOf(object) || "default" : "";
    return `${folder(apiVersionOf(object), namespace)}/${path}/${encodeURIComponent(nameOf(object))}`;
  }

  private async resource(apiVersion: string, kind: string): Promise<Resource> {
    const key = `${apiVersion}/${kind}`;
    if (!this.resources.has(key)) await this.discover(apiVersion);
    const found = this.resources.get(key);
    // What is not served may be so in a moment, when its definition has been made; so the absence is not remembered.
    if (found === undefined) throw new UnknownKind(apiVersion, kind);
    return found;
  }

  private async discover(apiVersion: string): Promise<void> {
    let served: Values;
    try {
      served = await this.call("GET", folder(apiVersion, ""));
    } catch (error) {
      if (error instanceof ApiError && error.isNotFound) return;
      throw error;
    }
    for (const entry of listAt(served, "resources").filter(isValues)) {
      const [name, kind] = [textAt(entry, "name") ?? "", textAt(entry, "kind") ?? ""];
      if (name.includes("/")) continue;
      this.resources.set(`${apiVersion}/${kind}`, { path: name, namespaced: entry.namespaced === true });
    }
  }

  private async call(
    method: string,
    path: string,
    { query = {}, type = "application/json", body }: { query?: Query; type?: string; body?: unknown } = {},
  ): Promise<Values> {
    const url = new URL(this.base.pathname.replace(/\/$/, "") + path, this.base);
    for (const [key, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(key, value);
    const content = body === undefined ? undefined : JSON.stringify(body);
    const options = await this.agent;
    const headers = {
      ...options.headers,
      accept: "application/json",
      "user-agent": "pulumi-kubernetes-stand-in",
      ...(content === undefined ? {} : { "content-type": type, "content-length": Buffer.byteLength(content) }),
    };
    const { code, text } = await send(url, { ...options, method, headers }, content);
    const answer: unknown = parse(text);
    if (code >= 200 && code < 300) return isValues(answer) ? answer : {};
    const message = textAt(answer, "message") ?? (text.slice(0, 500) || `status ${code}`);
    throw new ApiError(code, textAt(answer, "reason") ?? "", message);
  }
}

function folder(apiVersion: string, namespace: string): string {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return namespace === "" ? root : `${root}/namespaces/${encodeURIComponent(namespace)}`;
}

async function connectionOptions(kubeConfig: KubeConfig): Promise<RequestOptions> {
  const options: RequestOptions = {};
  await kubeConfig.applyToHTTPSOptions(options);
  const { ca, cert, key, rejectUnauthorized, headers, auth, servername } = options;
  const secure = { ca, cert, key, rejectUnauthorized: rejectUnauthorized ?? true, keepAlive: true };
  const protocol = new URL(kubeConfig.getCurrentCluster()?.server ?? "https://").protocol;
  return {
    ...(headers === undefined ? {} : { headers }),
    ...(auth === undefined ? {} : { auth }),
    ...(servername === undefined ? {} : { servername }),
    ...(protocol === "https:" ? { agent: new Agent(secure) } : {}),
  };
}

function send(
  url: URL,
  options: RequestOptions,
  content: string | undefined,
): Promise<{ readonly code: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const call = (url.protocol === "https:" ? request : plainRequest)(url, options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => resolve({ code: response.statusCode ?? 0, text }));
      response.on("error", reject);
    });
    // Far beyond any answer: a lost connection must not hold an operation for ever.
    call.setTimeout(60_000, () => call.destroy(new Error(`no answer from ${url.origin} for 60 s`)));
    call.on("error", reject);
    call.end(content);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
