import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";
import type { Upstream } from "../support/gateway-upstream";

let bench: GatewayBench;
let a: Upstream;

beforeEach(async () => {
  bench = await GatewayBench.create({}, { timeouts: { head: 300 } });
  a = await bench.upstream({ name: "a" });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
});
afterEach(() => bench.remove());

/** Sends bytes as they are, and returns all that comes until the gateway closes, or until it is enough. */
async function wire(text: string, enough: (answer: string) => boolean = () => false): Promise<string> {
  const { hostname, port } = new URL(bench.url);
  const socket = connect(Number(port), hostname);
  let answer = "";
  let closed = false;
  socket.on("data", (chunk) => {
    answer += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    closed = true;
  });
  socket.write(text, "latin1");
  await waitFor({
    what: "the gateway's answer",
    deadline: 10_000,
    interval: 5,
    look: () => closed || enough(answer) || undefined,
    seen: () => answer,
  });
  socket.destroy();
  return answer;
}

function get(path: string, headers: readonly string[] = []): Promise<string> {
  return wire([`GET ${path} HTTP/1.1`, "Host: comfy.example", "Connection: close", ...headers, "", ""].join("\r\n"));
}

const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);

describe("what is below /internal is not reached", () => {
  // The first three are answered by ComfyUI's server (aiohttp 3.14) with its internal routes.
  test.each([
    "/%69nternal/logs",
    "http://comfy.example/internal/logs",
    "HTTP://comfy.example/%69nternal/logs?x=1",
    "//internal/logs",
    "/api/internal/logs",
    "/api/%69nternal/logs",
    "/api/../internal/logs",
    "/x/%2e%2e/internal/logs",
    "/./internal//logs",
    "/internal%2flogs",
    "/internal",
    // An escape without meaning keeps none of the others from being decoded.
    "/%69nternal/%zz",
    "/%69nternal/files/%ff",
    "/%69n%ffternal/../internal/logs",
    "/x/..%2finternal/logs",
    "/%2e%2e/%2e/api/%69nternal",
    "/internal/.",
    "/internal?api_key=x",
  ])("by %s", async (path) => {
    expect(statusOf(await get(path))).toBe(404);
    const upgrade = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    const request = [`GET ${path} HTTP/1.1`, "Host: comfy.example", "Connection: Upgrade", ...upgrade, "", ""];
    expect(statusOf(await wire(request.join("\r\n")))).toBe(404);
    expect(a.requests).toEqual([]);
  });
});

describe("a route that the gateway answers itself", () => {
  test.each(["/%70rompt", "/api/prom%70t", "http://comfy.example/prompt"])("is the same by %s", async (path) => {
    const body = JSON.stringify({ prompt: { "1": { class_type: "SaveImage", inputs: {} } }, prompt_id: "p" });
    const head = `POST ${path} HTTP/1.1\r\nHost: comfy.example\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
    expect(statusOf(await wire(head + body))).toBe(200);
    await bench.result("p");
    await eventually("the result to be kept", async () =>
      (await (await bench.get("/metrics")).text()).includes("outstanding_prompts 0"),
    );
    await a.kill();
    await bench.setTargets(null, []);
    expect(await (await bench.image(await bench.result("p"))).text()).toContain("for p");
  });

  test("is not found by a wrong one, nor the gateway's own", async () => {
    expect(statusOf(await get("/%5fgateway/status"))).toBe(401);
    expect(statusOf(await get("/_gateway/%73tatus", [`x-comfyui-deployer-token: ${Object.values(deployer)[0]}`]))).toBe(
      200,
    );
    expect(statusOf(await get("/api/_gateway/status"))).toBe(401);
  });
});

describe("a request that could be read in two ways", () => {
  const smuggled = "GET /internal/logs HTTP/1.1\r\nHost: x\r\n\r\n";

  test.each([
    ["both lengths", ["Content-Length: 5", "Transfer-Encoding: chunked"], `0\r\n\r\n${smuggled}`],
    ["two lengths", ["Content-Length: 0", `Content-Length: ${smuggled.length}`], smuggled],
    ["an encoding behind chunked", ["Transfer-Encoding: chunked, identity"], `0\r\n\r\n${smuggled}`],
    ["a folded header", ["Transfer-Encoding:\r\n chunked", "Content-Length: 4"], `0\r\n\r\n${smuggled}`],
    ["a space before the colon", ["Transfer-Encoding : chunked", "Content-Length: 4"], `0\r\n\r\n${smuggled}`],
  ])("is refused and its connection closed: %s", async (_name, headers, body) => {
    const answer = await wire(["POST /echo HTTP/1.1", "Host: x", ...headers, "", body].join("\r\n"));
    expect(statusOf(answer)).toBe(400);
    expect(a.requests).toEqual([]);
  });
});

describe("a connection that costs more than it gives", () => {
  test("is closed when the head of its request does not come to its end", async () => {
    expect(statusOf(await wire("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "))).toBe(408);
  });

  test("is answered with 431 when its headers are too large", async () => {
    expect(statusOf(await get("/", [`X-Large: ${"x".repeat(20_000)}`]))).toBe(431);
    expect((await bench.get("/")).status).toBe(200);
  });
});

describe("an offer of another protocol", () => {
  test("is passed over, and the request answered, as by ComfyUI", async () => {
    const offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA"];
    const body = JSON.stringify({ prompt: { "1": { class_type: "X", inputs: {} } }, prompt_id: "of-java" });
    const head = ["POST /prompt HTTP/1.1", "Host: x", ...offer, `Content-Length: ${body.length}`, "", ""].join("\r\n");
    const answer = await wire(head + body, (text) => text.includes("of-java"));
    expect(statusOf(answer)).toBe(200);
    expect(a.accepted).toEqual(["of-java"]);
    const page = ["GET /system_stats HTTP/1.1", "Host: x", ...offer, "", ""].join("\r\n");
    expect(statusOf(await wire(page, (text) => text.includes("server")))).toBe(200);
    for (const headers of a.requestHeaders) expect(headers).not.toHaveProperty("upgrade");
  });
});

describe("a prompt's id", () => {
  test.each(["", "x".repeat(2_000), "\ud800", "a{b}"])(
    "that could not be asked for again is refused (%#)",
    async (id) => {
      const response = await bench.post("/prompt", {
        prompt: { "1": { class_type: "X", inputs: {} } },
        prompt_id: id,
      });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { type: "invalid_prompt_id" } });
      expect(a.accepted).toEqual([]);
    },
  );

  test.each(["..", "a/../../b", "ü%2F \u0000\r\nX: y", "__proto__", "x".repeat(1_000)])(
    "that is unusual works (%#)",
    async (id) => {
      const prompt = { "1": { class_type: "SaveImage", inputs: {} } };
      expect((await bench.post("/prompt", { prompt, prompt_id: id })).status).toBe(200);
      await bench.setTargets(null, [target(a, "r1/0", { state: "draining" })]);
      await bench.drained("r1/0");
      await bench.setTargets(null, []);
      await a.kill();
      const text = await get(`/history/${encodeURIComponent(id)}`);
      expect(text).toContain(Buffer.from(JSON.stringify(id)).toString("latin1"));
      expect(text).toContain("success");
    },
  );
});

describe("a file's name", () => {
  test.each(["../../settings.json", "..", "/etc/passwd", "a\r\nX-Injected: 1", 'quo"te.png'])(
    "that leads elsewhere or into a header leads nowhere: %j",
    async (filename) => {
      await bench.result(await bench.prompt("me"));
      for (const subfolder of ["", "@r1/0", "@r1~2f0", "@r1~2f0/../..", "@~0d~0aX"]) {
        for (const type of ["output", "..", "temp"]) {
          const response = await bench.get(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
          expect(response.status).toBe(404);
          expect(response.headers.has("x-injected")).toBe(false);
        }
      }
    },
  );
});
