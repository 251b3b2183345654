import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { releaseHeader } from "../../runtime/gateway/targets";
import type { GatewayState, Release, ReleaseSpec, ServiceState, SupervisorClient } from "../../runtime/supervisor";
import { workingPlugin } from "../support/stand-in-plugins";
import { makeEnvironment, packEnvironment } from "../support/supervisor-environment";
import {
  allProven,
  eventsOf,
  instancesOf,
  isLive,
  owner,
  queueWaiting,
  releaseIn,
  settings,
  specFor,
  TestPlatform,
  until,
  untilService,
} from "../support/supervisor-platform";

const platform = new TestPlatform();
const service = "studio";
let client: SupervisorClient;
let snapshot: string;
let gateway: GatewayState;

beforeAll(async () => {
  const environment = makeEnvironment(join(platform.folder, "studio"), { working: workingPlugin });
  snapshot = await packEnvironment(environment);
  client = await platform.connect();
  await client.claimService(service, { owner, settings, takeover: false });
  gateway = await client.declareGateway(service, {
    port: null,
    apiKeyHashes: [],
    maximumBodySize: 2 ** 20,
    resultRetention: 60_000,
    maximumSpoolSize: 2 ** 24,
  });
});
afterAll(() => platform.remove());

let releases = 0;

/** A release of its own, proven. */
async function provenRelease(count = 1): Promise<Release> {
  const spec: ReleaseSpec = { ...specFor(snapshot), environmentVariables: { RELEASE: String(++releases) } };
  const { id } = await client.createRelease(service, { owner, spec });
  const release = await client.setCount(service, id, count);
  await untilService(client, service, "to be proven", allProven(release, count));
  return release;
}

/** Moves the traffic to a release, from whatever serves. */
async function serve(release: Release): Promise<ServiceState> {
  const state = await client.service(service);
  return client.setTarget(service, { release: release.id, expectedServing: state?.serving ?? null });
}

const gone = (release: Release) =>
  untilService(client, service, `${release.id} to have gone`, (state) => instancesOf(state, release).length === 0);

const setDrain = (deadline: number, onDeadline: "keep" | "stop") =>
  client.claimService(service, { owner, settings: { drain: { deadline, onDeadline } }, takeover: false });

async function rewind(...used: readonly Release[]): Promise<void> {
  await client.clearTarget(service);
  for (const { id } of used) await client.removeRelease(service, id);
  await setDrain(settings.drain.deadline, settings.drain.onDeadline);
}

describe("the traffic of a service", () => {
  it("moves to a release that is proven, and only from the one that is known to serve", async () => {
    const first = await provenRelease();
    const second = await provenRelease();
    const state = await client.setTarget(service, { release: first.id, expectedServing: null });
    expect(state.serving).toBe(first.id);
    expect((await fetch(`${gateway.url}/system_stats`)).status).toBe(200);

    const late = client.setTarget(service, { release: second.id, expectedServing: null });
    await expect(late).rejects.toMatchObject({ refusal: { code: "superseded" } });
    await client.setTarget(service, { release: second.id, expectedServing: first.id });

    const again = await client.setTarget(service, { release: second.id, expectedServing: first.id });
    expect(again.serving).toBe(second.id);
    expect(eventsOf(releaseIn(again, second.id))).toEqual(["created", "started", "proven", "serving"]);
    await expect(client.removeRelease(service, second.id)).rejects.toMatchObject({
      refusal: { code: "still-serving" },
    });
    await expect(client.releaseClaim(service, owner)).rejects.toMatchObject({ refusal: { code: "still-serving" } });
    await rewind(first, second);
  });

  it("does not move to a release without instances, or with one that is not proven", async () => {
    const { id } = await client.createRelease(service, { owner, spec: specFor(snapshot) });
    const empty = client.setTarget(service, { release: id, expectedServing: null });
    await expect(empty).rejects.toMatchObject({ refusal: { code: "not-proven" } });

    const release = await client.setCount(service, id, 1);
    const early = client.setTarget(service, { release: id, expectedServing: null });

    await expect(early).rejects.toMatchObject({ refusal: { code: "not-proven", details: { count: 1, proven: 0 } } });
    expect((await client.service(service))?.serving).toBeNull();
    await rewind(release);
  });

  it("reaches a candidate with the deployer's token before it serves", async () => {
    const candidate = await provenRelease();
    const token = await client.deployerToken(service);

    const answer = await fetch(`${gateway.url}/system_stats`, {
      headers: { [releaseHeader]: candidate.id, "x-comfyui-deployer-token": token },
    });

    expect(answer.status).toBe(200);
    await rewind(candidate);
  });

  it("is where it was, with all that serves it, after the supervisor was killed", async () => {
    const release = await provenRelease(2);
    await serve(release);

    await platform.endDaemon("SIGKILL");

    const state = await client.service(service);
    expect(state?.serving).toBe(release.id);
    expect(state && instancesOf(state, release).map(({ phase }) => phase)).toEqual(["proven", "proven"]);
    expect((await fetch(`${gateway.url}/system_stats`)).status).toBe(200);
    await rewind(release);
  });
});

describe("a service whose supervisor is forced to end", () => {
  it("has no process left, and is served by the next supervisor as it was", async () => {
    const release = await provenRelease();
    await serve(release);

    await client.shutdown({ force: true });

    expect(platform.processes).toEqual([]);
    const state = await untilService(client, service, "to be proven again", allProven(release, 1));
    expect(state.serving).toBe(release.id);
    expect(instancesOf(state, release)[0]?.epoch).toBe(2);
    await until("the gateway to serve", async () => {
      const answer = await fetch(`${gateway.url}/system_stats`).catch(() => null);
      return answer?.status === 200;
    });
    await rewind(release);
  });
});

describe("a rotation", () => {
  it("lets an instance finish its prompt before it ends it", async () => {
    const old = await provenRelease();
    await serve(old);
    const file = join(platform.folder, "finish");
    const prompt = await queueWaiting(gateway.url, file);
    const next = await provenRelease();
    const before = await serve(next);
    const pid = instancesOf(before, old)[0]?.pid ?? null;

    await client.setCount(service, old.id, 0);

    const draining = await untilService(client, service, "to drain", (state) =>
      instancesOf(state, old).some(({ phase, detail }) => phase === "draining" && detail.includes("1 prompt left")),
    );
    expect(releaseIn(draining, old.id).drain?.refused).toBeNull();
    expect(isLive(pid)).toBe(true);
    writeFileSync(file, "");
    const state = await gone(old);
    expect(isLive(pid)).toBe(false);
    expect(eventsOf(releaseIn(state, old.id)).slice(-3)).toEqual(["serving", "draining", "drained"]);
    const history = (await (await fetch(`${gateway.url}/history/${prompt}`)).json()) as Record<string, unknown>;
    expect(Object.keys(history)).toEqual([prompt]);
    await rewind(old, next);
  });

  it("goes on draining, and ends what has drained, after the supervisor was killed", async () => {
    const old = await provenRelease();
    await serve(old);
    const file = join(platform.folder, "finish after the kill");
    await queueWaiting(gateway.url, file);
    const next = await provenRelease();
    await serve(next);
    await client.setCount(service, old.id, 0);

    await platform.endDaemon("SIGKILL");

    const state = await client.service(service);
    expect(state && instancesOf(state, old).map(({ phase }) => phase)).toEqual(["draining"]);
    writeFileSync(file, "");
    await gone(old);
    await rewind(old, next);
  });

  it("keeps its deadline when the supervisor is killed, whatever the machine's clock says then", async () => {
    const old = await provenRelease();
    await serve(old);
    const file = join(platform.folder, "finish after the clock was set");
    await queueWaiting(gateway.url, file);
    const next = await provenRelease();
    await serve(next);
    await client.setCount(service, old.id, 0);
    await platform.endDaemon("SIGKILL");
    const record = join(platform.directory, "services", service, "service.json");
    writeFileSync(
      record,
      readFileSync(record, "utf8").replace(/"startedAt": "[^"]*"/g, '"startedAt": "2001-01-01T00:00:00.000Z"'),
    );

    const draining = await untilService(client, service, "to drain", (state) =>
      instancesOf(state, old).some(({ phase, detail }) => phase === "draining" && detail.includes("1 prompt left")),
    );

    expect(releaseIn(draining, old.id).drain?.refused).toBeNull();
    expect(eventsOf(releaseIn(draining, old.id)).at(-1)).toBe("draining");
    await setDrain(300, "keep");
    await untilService(client, service, "to refuse", (state) => releaseIn(state, old.id).drain?.refused != null);
    writeFileSync(file, "");
    await client.setCount(service, old.id, 0);
    await gone(old);
    await rewind(old, next);
  });

  it("keeps an instance whose time is over when that is the policy, and tries again when asked", async () => {
    const old = await provenRelease();
    await serve(old);
    const file = join(platform.folder, "late");
    await queueWaiting(gateway.url, file);
    const next = await provenRelease();
    await serve(next);
    await setDrain(300, "keep");

    await client.setCount(service, old.id, 0);

    const refused = await untilService(
      client,
      service,
      "to refuse",
      (state) => releaseIn(state, old.id).drain?.refused != null,
    );
    expect(releaseIn(refused, old.id).drain?.refused).toMatchObject({
      code: "drain-deadline",
      message: expect.stringContaining(`${old.id}/0 (1 prompt left)`),
      details: { instances: [{ instance: `${old.id}/0`, queueRemaining: 1 }] },
    });
    expect(instancesOf(refused, old).map(({ phase }) => phase)).toEqual(["draining"]);
    await setDrain(60_000, "keep");
    const asked = await client.setCount(service, old.id, 0);
    expect(asked.drain?.refused).toBeNull();
    writeFileSync(file, "");
    await gone(old);
    await rewind(old, next);
  });

  it("ends an instance whose time is over when that is the policy, which may change on the way", async () => {
    const old = await provenRelease();
    await serve(old);
    await queueWaiting(gateway.url, join(platform.folder, "never"));
    const next = await provenRelease();
    await serve(next);
    await client.setCount(service, old.id, 0);
    await untilService(client, service, "to drain", (state) =>
      instancesOf(state, old).some(({ phase }) => phase === "draining"),
    );

    await setDrain(0, "stop");

    const state = await gone(old);
    expect(eventsOf(releaseIn(state, old.id)).at(-1)).toBe("drained");
    await rewind(old, next);
  });

  it("takes an instance that has gone by itself as drained", async () => {
    const old = await provenRelease();
    await serve(old);
    await queueWaiting(gateway.url, join(platform.folder, "never"));
    const next = await provenRelease();
    const state = await serve(next);
    await client.setCount(service, old.id, 0);

    process.kill(instancesOf(state, old)[0]?.pid ?? 0, "SIGKILL");

    await gone(old);
    await rewind(old, next);
  });
});

describe("the count of a serving release", () => {
  it("goes down to what has the least to do, and up again", async () => {
    const release = await provenRelease(2);
    const state = await serve(release);
    const [busy, idle] = instancesOf(state, release);
    const file = join(platform.folder, "busy");
    await queueWaiting(busy?.url ?? "", file);

    await client.setCount(service, release.id, 1);

    const smaller = await untilService(client, service, "to shrink", (seen) => instancesOf(seen, release).length === 1);
    expect(instancesOf(smaller, release)[0]?.id).toBe(busy?.id);
    expect(isLive(idle?.pid ?? null)).toBe(false);
    expect(releaseIn(smaller, release.id).events.at(-1)?.event).toBe("serving");
    await client.setCount(service, release.id, 2);
    await untilService(client, service, "to grow", allProven(release, 2));
    writeFileSync(file, "");
    await until("the prompt to end", async () => {
      const seen = await client.service(service);
      return seen !== null && instancesOf(seen, release).every(({ queueRemaining }) => queueRemaining === 0);
    });
    await rewind(release);
  });

  it("takes back an instance that was to go when more are wanted again", async () => {
    const release = await provenRelease(1);
    const state = await serve(release);
    const [instance] = instancesOf(state, release);
    const file = join(platform.folder, "taken back");
    await queueWaiting(gateway.url, file);
    await client.setCount(service, release.id, 0);
    await untilService(client, service, "to drain", (seen) => instancesOf(seen, release)[0]?.phase === "draining");

    await client.setCount(service, release.id, 1);

    const back = await untilService(client, service, "to be taken back", allProven(release, 1));
    expect(instancesOf(back, release)[0]?.pid).toBe(instance?.pid);
    writeFileSync(file, "");
    await untilService(client, service, "to end the drain", (seen) => releaseIn(seen, release.id).drain === null);
    await rewind(release);
  });
});
