import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { connectSupervisor, findSupervisor, SupervisorError } from "../../runtime/supervisor";
import { isAlive } from "../../runtime/supervisor/processes";
import { isLive, otherOwner, owner, settings, specFor, TestPlatform, until } from "../support/supervisor-platform";

let platform: TestPlatform;

beforeEach(() => {
  platform = new TestPlatform();
});
afterEach(() => platform.remove());

describe("the supervisor of a directory", () => {
  it("is started once, however many need it at the same time", async () => {
    const clients = await Promise.all(Array.from({ length: 4 }, () => platform.connect()));

    const abouts = await Promise.all(clients.map((client) => client.about()));

    expect(new Set(abouts.map(({ pid }) => pid)).size).toBe(1);
    expect(abouts[0]?.directory).toBe(platform.directory);
    const locks = () => readdirSync(platform.directory).filter((name) => name.endsWith(".lock"));
    await until("the others to have withdrawn", () => locks().length === 1);
  });

  it("is not started by who only looks for it", async () => {
    expect(await findSupervisor(platform.directory)).toBeNull();
    expect(existsSync(platform.directory)).toBe(false);
  });

  it("holds nothing of the process that started it: neither its folder nor its output nor its session", async () => {
    const { pid } = await (await platform.connect()).about();

    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [, , , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    expect(Number(session)).toBe(pid);
    expect(readdirSync(`/proc/${pid}/cwd`)).toEqual(readdirSync("/"));
    expect(readFileSync(`/proc/${pid}/environ`, "utf8")).not.toContain("PULUMI");
  });

  it("ends by itself when it has nothing left, and leaves nothing behind", async () => {
    const client = await platform.connect();
    await client.claimService("studio", { owner, settings, takeover: false });
    await client.releaseClaim("studio", owner);
    const { presence } = platform;
    if (presence === null) throw new Error("the supervisor has written no presence");

    await until("the supervisor to end", () => !isAlive(presence.identity));

    expect(existsSync(platform.directory)).toBe(false);
    expect(existsSync(presence.socket)).toBe(false);
  });

  it("leaves what others keep in its directory", async () => {
    mkdirSync(join(platform.directory, "store"), { recursive: true });
    await platform.connect();
    const { presence } = platform;
    if (presence === null) throw new Error("the supervisor has written no presence");

    await until("the supervisor to end", () => !isAlive(presence.identity));

    expect(readdirSync(platform.directory)).toEqual(["store"]);
  });

  it("is started again by a client whose supervisor was killed, and knows what it knew", async () => {
    const client = await platform.connect();
    await client.claimService("studio", { owner, settings, takeover: false });
    const before = await client.about();

    await platform.endDaemon("SIGKILL");

    expect((await client.service("studio"))?.claim.owner).toEqual(owner);
    expect((await client.about()).pid).not.toBe(before.pid);
  });

  it("refuses to end while it looks after something, unless forced, and is then found by the next", async () => {
    const client = await platform.connect();
    await client.claimService("studio", { owner, settings, takeover: false });
    const { presence } = platform;
    if (presence === null) throw new Error("the supervisor has written no presence");

    await expect(client.shutdown({ force: false })).rejects.toThrow(/still looks after service studio/);
    await client.shutdown({ force: true });

    expect(isAlive(presence.identity)).toBe(false);
    expect(await findSupervisor(platform.directory)).toBeNull();
    expect((await (await platform.connect()).service("studio"))?.name).toBe("studio");
  });

  it("names what to do when the one that runs speaks another protocol", async () => {
    await (await platform.connect()).claimService("studio", { owner, settings, takeover: false });
    const path = join(platform.directory, "supervisor.json");
    const presence = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...presence, protocol: 99 }));

    const refused = connectSupervisor(platform.directory);

    await expect(refused).rejects.toThrow(new RegExp(`protocol 99.*kill ${presence.pid}`));
  });

  it("reports the end of its log when it cannot start", async () => {
    mkdirSync(join(platform.directory, "services", "studio"), { recursive: true });
    writeFileSync(join(platform.directory, "services", "studio", "service.json"), "{ not JSON");

    await expect(platform.connect()).rejects.toThrow(/service\.json is not readable JSON/);
  });

  it("answers in a directory whose path is longer than a socket's may be", async () => {
    const long = join(platform.directory, "d".repeat(120));

    const { directory } = await (await connectSupervisor(long)).about();

    expect(directory).toBe(long);
    const { socket, pid } = JSON.parse(readFileSync(join(long, "supervisor.json"), "utf8"));
    expect(Buffer.byteLength(socket)).toBeLessThan(108);
    await until("it to end", () => !isLive(pid));
  });

  it("ends when its directory is removed under it", async () => {
    const client = await platform.connect();
    await client.claimService("studio", { owner, settings, takeover: false });
    const { presence } = platform;
    if (presence === null) throw new Error("the supervisor has written no presence");

    rmSync(platform.directory, { recursive: true });

    await until("the supervisor to end", () => !isAlive(presence.identity));
    expect(existsSync(dirname(platform.directory))).toBe(true);
  });
});

describe("the claim of a service", () => {
  it("belongs to one owner, whose name another one is told", async () => {
    const client = await platform.connect();
    const first = await client.claimService("studio", { owner, settings, takeover: false });

    const second = client.claimService("studio", { owner: otherOwner, settings, takeover: false });

    await expect(second).rejects.toThrow(/acme\/studio\/dev since/);
    await expect(second).rejects.toMatchObject({ refusal: { code: "owned-by-another", details: first } });
    await expect(client.releaseClaim("studio", otherOwner)).rejects.toBeInstanceOf(SupervisorError);
  });

  it("is updated by its owner, who stays who it was since then", async () => {
    const client = await platform.connect();
    const first = await client.claimService("studio", { owner, settings, takeover: false });
    const changed = { drain: { deadline: 1, onDeadline: "stop" as const } };

    const second = await client.claimService("studio", { owner, settings: changed, takeover: false });

    expect(second).toEqual(first);
    expect((await client.service("studio"))?.settings).toEqual(changed);
  });

  it("is taken over when that is asked for", async () => {
    const client = await platform.connect();
    await client.claimService("studio", { owner, settings, takeover: false });

    await client.claimService("studio", { owner: otherOwner, settings, takeover: true });

    expect((await client.service("studio"))?.claim.owner).toEqual(otherOwner);
  });

  it("goes to exactly one of two that ask at the same time", async () => {
    const client = await platform.connect();

    const asked = await Promise.allSettled(
      [owner, otherOwner].map((who) => client.claimService("studio", { owner: who, settings, takeover: false })),
    );

    expect(asked.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  it("has a name that is fit for a folder", async () => {
    const client = await platform.connect();

    const refused = client.claimService("../studio", { owner, settings, takeover: false });

    await expect(refused).rejects.toMatchObject({ refusal: { code: "invalid" } });
  });

  it("gives an interrupted deployment the release that it had created, also after the supervisor was killed", async () => {
    const client = await platform.connect();
    await client.claimService("studio", { owner, settings, takeover: false });
    const spec = specFor(`/store#sha256:${"a".repeat(64)}`);
    const first = await client.createRelease("studio", { owner, spec });

    await platform.endDaemon("SIGKILL");

    expect(await client.createRelease("studio", { owner, spec })).toEqual(first);
    await client.setCount("studio", first.id, 0);
    expect((await client.createRelease("studio", { owner, spec })).id).not.toBe(first.id);
  });

  it("refuses releases of others, and arguments that the supervisor itself sets", async () => {
    const client = await platform.connect();
    await client.claimService("studio", { owner, settings, takeover: false });
    const spec = specFor(`/store#sha256:${"a".repeat(64)}`);

    const foreign = client.createRelease("studio", { owner: otherOwner, spec });
    const reserved = client.createRelease("studio", { owner, spec: { ...spec, arguments: ["--port", "1"] } });

    await expect(foreign).rejects.toMatchObject({ refusal: { code: "owned-by-another" } });
    await expect(reserved).rejects.toThrow(/spec\.arguments\.0: is set for each instance and cannot be declared/);
  });

  it("may be given up again and again", async () => {
    const client = await platform.connect();

    await client.releaseClaim("studio", owner);

    expect(await client.service("studio")).toBeNull();
  });
});
