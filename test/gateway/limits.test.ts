import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";
import type { Upstream } from "../support/gateway-upstream";
import { sha256 } from "../support/gateway-upstream-files";

let bench: GatewayBench;
let a: Upstream;

async function begin(settings: Parameters<typeof GatewayBench.create>[0] = {}): Promise<void> {
  bench = await GatewayBench.create(settings, { resolve, holdTimeout: 500 });
  a = await bench.upstream({ name: "a" });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
}
beforeEach(() => {
  bench = undefined as unknown as GatewayBench;
});
afterEach(() => bench.remove());

/** Names as a hostile page's owner may have set them up. */
async function resolve(host: string): Promise<readonly string[]> {
  if (host === "points-here.example") return ["127.0.0.1", "::1"];
  if (host === "elsewhere.example") return ["127.0.0.1", "192.0.2.1"];
  throw new Error(`${host} is not known`);
}

/** A request with headers that fetch does not let anybody set. */
async function raw(path: string, headers: Record<string, string>, method = "GET", body: readonly Buffer[] = []) {
  return new Promise<{ status: number; text: string }>((resolve, reject) => {
    const outgoing = request(new URL(path, bench.url), { method, headers }, (incoming) => {
      let text = "";
      incoming.on("data", (chunk) => {
        text += chunk;
      });
      incoming.on("end", () => resolve({ status: incoming.statusCode ?? 0, text }));
    });
    outgoing.on("error", reject);
    for (const chunk of body) outgoing.write(chunk);
    outgoing.end();
  });
}

describe("API keys", () => {
  const key = "a key";

  test("let in who has one, and nobody else", async () => {
    await begin({ apiKeyHashes: [sha256("another"), sha256("key")] });
    for (const path of ["/_gateway/queue", "/", "/api/history", "/object_info", "/view?filename=x"]) {
      expect((await bench.get(path)).status).toBe(401);
      expect((await bench.get(path, { headers: { "x-api-key": "kex" } })).status).toBe(401);
      expect((await bench.get(path, { headers: { authorization: "Bearer key" } })).status).not.toBe(401);
      expect((await bench.get(path, { headers: { "x-api-key": "key" } })).status).not.toBe(401);
    }
    expect((await bench.post("/prompt", { prompt: {} })).status).toBe(401);
    expect((await bench.get("/", { headers: deployer })).status).toBe(200);
    expect((await bench.get("/?api_key=key")).status).toBe(401);
  });

  test("do not reach an instance", async () => {
    await begin({ apiKeyHashes: [sha256("key")] });
    await bench.get("/", {
      headers: { authorization: "Bearer key", "x-api-key": "key", cookie: "comfyui-gateway-key=key; theirs=1" },
    });
    const headers = a.requestHeaders.at(-1);
    expect(headers).toMatchObject({ cookie: "theirs=1" });
    expect(JSON.stringify([headers, a.requests])).not.toContain("key=");
    expect(headers).not.toHaveProperty("authorization");
    expect(headers).not.toHaveProperty("x-api-key");
  });

  test("are not replaced by what a load balancer says of who has logged in, of which nothing reaches an instance", async () => {
    await begin({ apiKeyHashes: [sha256("key")] });
    const headers = {
      "x-amzn-oidc-accesstoken": "token-of-person",
      "x-amzn-oidc-data": "claims-of-person",
      "x-amzn-oidc-identity": "person",
      cookie: "AWSELBAuthSessionCookie-0=session-a; theirs=1; AWSELBAuthSessionCookie-1=session-b",
    };
    expect((await bench.get("/", { headers })).status).toBe(401);
    await expect(bench.socket("me", { headers })).rejects.toThrow("401");
    await bench.get("/", { headers: { ...headers, "x-api-key": "key" } });
    expect(a.requestHeaders.at(-1)).toMatchObject({ cookie: "theirs=1" });
    await bench.socket(null, { path: "/plugin-socket", headers: { ...headers, "x-api-key": "key" } });
    expect(JSON.stringify(a.requestHeaders)).not.toMatch(/x-amzn-oidc|of-person|AWSELB|session-[ab]/);
  });

  test("reach neither an instance nor the log as part of a URL, while a plugin's own stays", async () => {
    await begin({ apiKeyHashes: [sha256("secret-key")] });
    const headers = { "x-api-key": "secret-key" };
    await bench.get("/system_stats?api_key=secret-key&b=%20", { headers });
    await bench.get("/system_stats?api_key=theirs", { headers });
    await bench.get("/plugin-socket?api_key=secret-key", { headers });
    await bench.post("/prompt?api_key=secret-key", { prompt: {} }, headers);
    const plugin = await bench.socket(null, { path: "/plugin-socket?api_key=secret-key" });
    expect(plugin.socket.readyState).toBe(plugin.socket.OPEN);
    expect(a.requests).toContain("GET /system_stats?b=+");
    expect(a.requests).toContain("GET /system_stats?api_key=theirs");
    await a.kill();
    await bench.get("/system_stats?api_key=secret-key", { headers });
    expect([...a.requests, ...bench.log].join()).not.toContain("secret-key");
  });

  test("open WebSockets by header, query or cookie, the cookie for the host's own pages only", async () => {
    await begin({ apiKeyHashes: [sha256("key")] });
    await expect(bench.socket("me")).rejects.toThrow("401");
    await bench.socket("me", { headers: { "x-api-key": "key" } });
    const cookie = "comfyui-gateway-key=key";
    await bench.socket("me", { headers: { cookie } });
    await bench.socket("me", { headers: { cookie, host: "studio.example", origin: "https://studio.example" } });
    const foreign = { cookie, host: "studio.example", origin: "https://evil.example" };
    await expect(bench.socket("me", { headers: foreign })).rejects.toThrow("401");
    const client = await bench.socket("me&api_key=key");
    await client.message("the status", ({ type, data }) => type === "status" && data.sid === "me");
  });

  test("can be changed while the gateway runs", async () => {
    await begin();
    expect((await bench.get("/")).status).toBe(200);
    await bench.setSettings({ apiKeyHashes: [sha256(key)] });
    await eventually("the settings to be applied", async () => (await bench.get("/")).status === 401);
    await bench.setSettings({});
    await eventually("the settings to be applied", async () => (await bench.get("/")).status === 200);
  });
});

describe("what only the deployer reaches", () => {
  test("is the status, and /internal", async () => {
    await begin();
    expect((await bench.get("/_gateway/status")).status).toBe(401);
    expect((await bench.get("/_gateway/status", { headers: { "x-comfyui-deployer-token": "x" } })).status).toBe(401);
    expect(await bench.status()).toMatchObject({ protocol: 1, pid: process.pid, generation: 1, serving: "r1" });
    for (const path of ["/internal/logs", "/api/internal/logs", "/internal"]) {
      expect((await bench.get(path)).status).toBe(404);
    }
    expect(a.requests).toEqual([]);
    await bench.get("/internal/logs", { headers: deployer });
    expect(a.requests).toEqual(["GET /internal/logs"]);
  });
});

describe("a page of another host", () => {
  test.each([
    [{ host: "127.0.0.1:8188", origin: "http://example.com" }, 403],
    [{ host: "localhost:8188", origin: "http://localhost:9000" }, 403],
    [{ host: "localhost:8188", origin: "null" }, 200],
    [{ host: "points-here.example:8188", origin: "http://evil.example" }, 403],
    [{ host: "points-here.example:8188", origin: "http://points-here.example:8188" }, 200],
    [{ host: "elsewhere.example:8188", origin: "http://evil.example" }, 200],
    [{ host: "[::1]:8188", origin: "http://127.0.0.1:8188" }, 403],
    [{ host: "127.0.0.1:8188", origin: "http://127.0.0.1:8188" }, 200],
    [{ host: "localhost:8188", origin: "http://localhost" }, 200],
    [{ host: "comfy.example.com", origin: "http://example.com" }, 200],
    [{ host: "comfy.example.com" }, 200],
  ])("with %j is answered with %i, as ComfyUI does", async (headers, status) => {
    await begin();
    expect((await raw("/system_stats", headers as Record<string, string>)).status).toBe(status);
    expect(a.requests).toHaveLength(status === 200 ? 1 : 0);
    // The instance sees itself as the host, and no origin that it would compare with that.
    if (status === 200) expect(a.requestHeaders[0]).toMatchObject({ host: `127.0.0.1:${a.port}` });
    if (status === 200) expect(a.requestHeaders[0]).not.toHaveProperty("origin");
  });

  test("opens no WebSocket", async () => {
    await begin();
    const headers = { origin: "http://example.com" };
    await expect(bench.socket("me", { headers })).rejects.toThrow("403");
  });
});

describe("a request that is too large", () => {
  const chunks = Array.from({ length: 40 }, () => Buffer.alloc(65_536, "x"));

  test.each(["/prompt", "/upload/image", "/echo", "/api/queue"])(
    "is answered with 413 at %s, declared or chunked",
    async (path) => {
      await begin({ maximumBodySize: 1_000_000 });
      const length = String(chunks.length * 65_536);
      const type = { "content-type": "multipart/form-data; boundary=b" };
      const declared = await raw(path, { ...type, "content-length": length }, "POST", chunks);
      expect(declared.status).toBe(413);
      expect(JSON.parse(declared.text)).toMatchObject({ error: { type: "request_too_large" } });
      expect((await raw(path, { ...type, "transfer-encoding": "chunked" }, "POST", chunks)).status).toBe(413);
      // The next request is not disturbed.
      expect((await bench.get("/")).status).toBe(200);
      expect(a.accepted).toEqual([]);
    },
  );

  test("is passed on when it just fits", async () => {
    await begin({ maximumBodySize: 65_536 });
    const { status, text } = await raw("/echo?x=%2F", { "transfer-encoding": "chunked" }, "POST", chunks.slice(0, 1));
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ bytes: 65_536, url: "/echo?x=%2F" });
  });
});

describe("what the gateway does not know", () => {
  test("is passed on as it is, large answers as they come", async () => {
    await begin();
    const response = await bench.get("/big");
    expect((await response.arrayBuffer()).byteLength).toBe(64 * 65_536);
    const { url } = await bench.json("/system_stats?b=2&a=%20%2F+x");
    expect(url).toBe("/system_stats?b=2&a=%20%2F+x");
    expect((await bench.get("/no_such_path")).status).toBe(404);
  });

  test("is cut for the client where the instance cuts it", async () => {
    await begin();
    const response = await bench.get("/cut");
    await expect(response.text()).rejects.toThrow();
  });

  test("stays on one instance for a browser, and goes to another when that cannot be reached", async () => {
    await begin();
    const b = await bench.upstream({ name: "b" });
    await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
    const first = await bench.get("/");
    const cookie = first.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    const { server } = (await first.json()) as { server: string };
    for (let index = 0; index < 3; index += 1) {
      expect((await bench.json("/system_stats", { headers: { cookie } })).server).toBe(server);
    }
    await (server === "a" ? a : b).kill();
    expect((await bench.json("/system_stats", { headers: { cookie } })).server).toBe(server === "a" ? "b" : "a");
  });
});

test("metrics say what the gateway does", async () => {
  await begin();
  const client = await bench.socket("me");
  const id = await bench.prompt("me");
  await client.end(id);
  await bench.result(id);
  const text = await (await bench.get("/metrics")).text();
  expect(text).toContain('comfyui_gateway_prompts_total{release="r1",instance="r1/0"} 1');
  expect(text).toMatch(/comfyui_gateway_requests_total\{method="POST",status="200"\} 1/);
  expect(text).toContain("comfyui_gateway_sockets 1");
  expect(text).toContain("comfyui_gateway_generation 1");
  expect(text).toContain("comfyui_gateway_retries_total 0");
  expect(text).toMatch(/comfyui_gateway_spool_bytes \d+/);
  expect(text).toContain('comfyui_gateway_in_flight{instance="r1/0"} 0');
});
