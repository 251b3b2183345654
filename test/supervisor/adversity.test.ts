import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { connectSupervisor, type Release, type ServiceState, type SupervisorClient } from "../../runtime/supervisor";
import { bootId, findMarkedBelow, identify, send } from "../../runtime/supervisor/processes";
import { workingPlugin } from "../support/stand-in-plugins";
import { makeEnvironment, packEnvironment } from "../support/supervisor-environment";
import {
  allProven,
  instancesOf,
  isLive,
  owner,
  settings,
  specFor,
  TestPlatform,
  until,
  untilService,
} from "../support/supervisor-platform";

const service = "studio";
let platform: TestPlatform;
let client: SupervisorClient;

beforeEach(() => {
  platform = new TestPlatform();
});
afterEach(() => platform.remove());

/** A service with a gateway and one release that serves. */
async function serve(directory = platform.directory): Promise<{ release: Release; state: ServiceState }> {
  const environment: EnvironmentLocation = makeEnvironment(join(platform.folder, "studio"), { working: workingPlugin });
  const snapshot = await packEnvironment(environment);
  client = await connectSupervisor(directory);
  await client.claimService(service, { owner, settings, takeover: false });
  await client.declareGateway(service, {
    port: null,
    apiKeyHashes: [],
    maximumBodySize: 2 ** 20,
    resultRetention: 60_000,
    maximumSpoolSize: 2 ** 24,
  });
  const release = await client.createRelease(service, { owner, spec: specFor(snapshot) });
  await client.setCount(service, release.id, 1);
  await untilService(client, service, "to be proven", allProven(release, 1));
  return { release, state: await client.setTarget(service, { release: release.id, expectedServing: null }) };
}

const folderOf = (...parts: readonly string[]) => join(platform.directory, "services", service, ...parts);
const instanceFolder = (release: Release) => folderOf("releases", release.id, "instances", "0");

async function endEverything(): Promise<void> {
  await platform.endDaemon("SIGKILL");
  for (const identity of platform.processes) send(identity, "SIGKILL");
  await until("all processes to end", () => platform.processes.length === 0);
}

describe("a machine that was started again", () => {
  it("serves again at the same address, and no process that got a recorded number is touched", async () => {
    const { release, state } = await serve();
    const url = state.gateway?.url ?? "";
    const earlier = platform.presence;
    await endEverything();
    // As the other boot would have left it: every number is somebody else's by now, this process's for one.
    const own = identify(process.pid);
    const ticks = own?.startTime.split("/")[1];
    const other = `${bootId().replace(/^./, (first) => (first === "0" ? "1" : "0"))}/${ticks}`;
    const records = [
      join(platform.directory, "supervisor.json"),
      folderOf("gateway", "process.json"),
      join(instanceFolder(release), "instance.json"),
    ];
    for (const path of records) {
      const text = readFileSync(path, "utf8");
      expect(text).toMatch(/"startTime": "[^"]+"/);
      writeFileSync(
        path,
        text
          .replace(/"pid": \d+/g, `"pid": ${process.pid}`)
          .replace(/"startTime": "[^"]+"/g, `"startTime": "${other}"`),
      );
    }
    writeFileSync(join(platform.directory, `supervisor-${process.pid}-${other.replace("/", "+")}.lock`), "");
    expect(existsSync(earlier?.socket ?? "")).toBe(true);

    client = await platform.connect();

    const again = await untilService(client, service, "to be proven again", allProven(release, 1));
    expect(instancesOf(again, release)[0]).toMatchObject({ epoch: 2, url: instancesOf(state, release)[0]?.url });
    expect(again.serving).toBe(release.id);
    await until("the gateway to serve", async () => (await fetch(url).catch(() => null))?.status === 200);
    expect(readdirSync(platform.directory).filter((name) => name.endsWith(".lock"))).toHaveLength(1);
  });
});

describe("a record that is damaged", () => {
  it("keeps the supervisor from starting: each is named, nothing is started and nothing deleted", async () => {
    const { release } = await serve();
    await endEverything();
    const record = join(instanceFolder(release), "instance.json");
    const text = readFileSync(record, "utf8");
    writeFileSync(record, text.slice(0, 40));
    mkdirSync(join(platform.directory, "workstations", "bench"), { recursive: true });
    const other = join(platform.directory, "workstations", "bench", "workstation.json");
    writeFileSync(other, JSON.stringify({ format: 2 }));

    const started = platform.connect();

    await expect(started).rejects.toThrow(`${record} is not readable JSON`);
    await expect(started).rejects.toThrow(/workstation\.json is not as this version .* writes it: format:/);
    expect(platform.processes).toEqual([]);
    expect(existsSync(join(instanceFolder(release), "environment"))).toBe(true);
    rmSync(dirname(other), { recursive: true });
    writeFileSync(record, text);
    client = await platform.connect();
    await untilService(client, service, "to be proven again", allProven(release, 1));
  });

  it("is made anew where that loses nothing", async () => {
    const { release } = await serve();
    await endEverything();
    writeFileSync(join(instanceFolder(release), "restored.json"), "{}");

    client = await platform.connect();

    await untilService(client, service, "to be proven again", allProven(release, 1));
  });
});

describe("what was left half done", () => {
  it("is a gateway whose removal was written down but not done: its process ends", async () => {
    const { state } = await serve();
    const pid = state.gateway?.pid ?? null;
    await platform.endDaemon("SIGKILL");
    const record = JSON.parse(readFileSync(folderOf("service.json"), "utf8"));
    writeFileSync(folderOf("service.json"), JSON.stringify({ ...record, gateway: null }));
    expect(isLive(pid)).toBe(true);

    client = await platform.connect();

    await until("the gateway to end", () => !isLive(pid));
    expect((await client.service(service))?.gateway).toBeNull();
  });

  it("is a service whose folder somebody removed: its processes end", async () => {
    await serve();
    await platform.endDaemon("SIGKILL");
    expect(platform.processes).toHaveLength(2);
    rmSync(folderOf(), { recursive: true });

    client = await platform.connect();

    await until("its processes to end", () => platform.processes.length === 0);
  });

  it("is a restore that was interrupted and is not needed any more", async () => {
    await serve();
    await platform.endDaemon("SIGKILL");
    const cache = join(platform.directory, "cache");
    const needed = readdirSync(cache);
    mkdirSync(join(cache, `${"0".repeat(64)}.1-2-3.partial`, "environment"), { recursive: true });
    symlinkSync("1-2-3", join(cache, `${"0".repeat(64)}.lock`));

    client = await platform.connect();

    expect(readdirSync(cache)).toEqual(needed);
  });
});

// A folder in the place of the file that a record is written to first fails every write, as a full disk does, also for root.
describe("a record that cannot be written", () => {
  const block = (path: string) => mkdirSync(`${path}.tmp`);
  const unblock = (path: string) => rmdirSync(`${path}.tmp`);

  it("does not end the supervisor: an instance says what is wrong, and is started again once that is over", async () => {
    const { release, state } = await serve();
    const { pid } = await client.about();
    const record = join(instanceFolder(release), "instance.json");
    block(record);

    process.kill(instancesOf(state, release)[0]?.pid ?? 0, "SIGKILL");

    const failed = await untilService(client, service, "to say so", (seen) => {
      return instancesOf(seen, release)[0]?.phase === "failed";
    });
    expect(instancesOf(failed, release)[0]?.evidence?.reason).toContain(`${record} could not be written`);
    unblock(record);
    await client.setCount(service, release.id, 1);
    await untilService(client, service, "to be proven again", allProven(release, 1));
    expect((await client.about()).pid).toBe(pid);
    expect(findMarkedBelow(folderOf("releases"))).toHaveLength(1);
  });

  it("does not leave the gateway unattended: it is started again once that is over, and only one of it", async () => {
    const { state } = await serve();
    const record = folderOf("gateway", "process.json");
    block(record);
    process.kill(state.gateway?.pid ?? 0, "SIGKILL");
    const log = join(platform.directory, "supervisor.log");
    await until("it to be said", () => readFileSync(log, "utf8").includes(`${record} could not be written`));

    unblock(record);

    await until(
      "it to serve again",
      async () => (await fetch(state.gateway?.url ?? "").catch(() => null))?.status === 200,
    );
    expect(findMarkedBelow(folderOf()).filter(({ pid }) => commandOf(pid).includes("gateway.js"))).toHaveLength(1);
  });

  it("changes nothing: what was refused may be asked for again", async () => {
    const { release } = await serve();
    block(folderOf("service.json"));

    const refused = client.setCount(service, release.id, 2);

    await expect(refused).rejects.toThrow(/service\.json could not be written/);
    expect((await client.service(service))?.releases[0]?.count).toBe(1);
    unblock(folderOf("service.json"));
    await client.setCount(service, release.id, 2);
    await untilService(client, service, "to have two", allProven(release, 2));
  });
});

describe("a directory with a long and unusual path", () => {
  it("is served from all the same, also by way of a link to it", async () => {
    const directory = join(platform.directory, "für “Studio” 工作", "d".repeat(100));
    const { release, state } = await serve(directory);
    expect((await fetch(state.gateway?.url ?? "")).status).toBe(200);
    const link = join(platform.folder, "link");
    symlinkSync(directory, link);

    const other = await connectSupervisor(link);

    expect((await other.about()).pid).toBe((await client.about()).pid);
    await client.shutdown({ force: true });
    expect(platform.processes).toEqual([]);
    client = await connectSupervisor(link);
    await untilService(client, service, "to be proven again", allProven(release, 1));
    await client.clearTarget(service);
    await client.removeRelease(service, release.id);
    await client.releaseClaim(service, owner);
    await until("nothing to be left", () => !existsSync(directory) && platform.processes.length === 0);
  });
});

const commandOf = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "utf8");
