import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { deployerTokenHeader } from "../../runtime/gateway/targets";
import type { GatewayDeclaration, SupervisorClient } from "../../runtime/supervisor";
import { freePort } from "../../runtime/supervisor/ports";
import { isLive, owner, settings, TestPlatform, untilService } from "../support/supervisor-platform";

const service = "studio";
const declaration: GatewayDeclaration = {
  port: null,
  apiKeyHashes: [],
  maximumBodySize: 2 ** 20,
  resultRetention: 60_000,
  maximumSpoolSize: 2 ** 20,
};
let platform: TestPlatform;
let client: SupervisorClient;

beforeEach(async () => {
  platform = new TestPlatform();
  client = await platform.connect();
  await client.claimService(service, { owner, settings, takeover: false });
});
afterEach(() => platform.remove());

async function statusOf(url: string): Promise<{ pid: number; generation: number; serving: string | null }> {
  const token = await client.deployerToken(service);
  const response = await fetch(`${url}/_gateway/status`, { headers: { [deployerTokenHeader]: token } });
  if (!response.ok) throw new Error(`${url}/_gateway/status answered ${response.status}`);
  return (await response.json()) as { pid: number; generation: number; serving: string | null };
}

async function occupy(port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

describe("the gateway of a service", () => {
  it("listens once it is declared, at a port that it keeps", async () => {
    const first = await client.declareGateway(service, declaration);
    expect(await statusOf(first.url)).toMatchObject({ pid: first.pid, serving: null });

    const again = await client.declareGateway(service, declaration);
    expect(again).toEqual(first);
    await client.removeGateway(service);
    expect(isLive(first.pid)).toBe(false);
    expect((await client.service(service))?.gateway).toBeNull();
  });

  it("is told of other settings without a restart", async () => {
    const first = await client.declareGateway(service, declaration);

    const second = await client.declareGateway(service, { ...declaration, apiKeyHashes: ["a".repeat(64)] });

    expect(second.pid).toBe(first.pid);
    const written = JSON.parse(
      readFileSync(join(platform.directory, "services", service, "gateway", "settings.json"), "utf8"),
    );
    expect(written).toMatchObject({ apiKeyHashes: ["a".repeat(64)], maximumBodySize: 2 ** 20 });
  });

  it("moves to a port that is declared", async () => {
    const first = await client.declareGateway(service, declaration);
    const port = await freePort();

    const second = await client.declareGateway(service, { ...declaration, port });

    expect(second.port).toBe(port);
    expect((await statusOf(second.url)).pid).toBe(second.pid);
    expect(isLive(first.pid)).toBe(false);
  });

  it("is refused for a declared port that something else holds, which is named", async () => {
    const port = await freePort();
    const other = await occupy(port);

    const refused = client.declareGateway(service, { ...declaration, port });

    await expect(refused).rejects.toMatchObject({
      refusal: { code: "port-taken", message: expect.stringContaining(`process ${process.pid}`) },
    });
    expect((await client.service(service))?.gateway).toBeNull();
    other.close();
  });

  it("is started again when it ends, and at once when it is declared", async () => {
    const first = await client.declareGateway(service, declaration);
    process.kill(first.pid ?? 0, "SIGKILL");
    await untilService(client, service, "to have noticed", (state) => state.gateway?.pid !== first.pid);

    const second = await client.declareGateway(service, declaration);

    expect(second).toMatchObject({ port: first.port, restarts: 1 });
    expect((await statusOf(second.url)).pid).toBe(second.pid);
  });

  it("stays the same process over the end of the supervisor, and hears of no older generation afterwards", async () => {
    const first = await client.declareGateway(service, declaration);
    await client.clearTarget(service);
    const before = await client.service(service);

    await platform.endDaemon("SIGKILL");

    const after = await client.service(service);
    expect(after?.gateway?.pid).toBe(first.pid);
    expect(after?.generation).toBeGreaterThanOrEqual(before?.generation ?? Number.NaN);
  });

  it("goes with the claim", async () => {
    const { pid } = await client.declareGateway(service, declaration);

    await client.releaseClaim(service, owner);

    expect(isLive(pid)).toBe(false);
    expect(platform.processes).toEqual([]);
  });

  it("has a token that only this user can read, which stays the same", async () => {
    const token = await client.deployerToken(service);
    await platform.endDaemon("SIGKILL");

    expect(await client.deployerToken(service)).toBe(token);
    expect(token.length).toBeGreaterThanOrEqual(40);
  });
});
