import { cpSync, existsSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import {
  isPortFree,
  type Release,
  type ReleaseSpec,
  readServiceRecords,
  type SupervisorClient,
} from "../../runtime/supervisor";
import { brokenPlugin, workingPlugin } from "../support/stand-in-plugins";
import {
  exitingPlugin,
  hangingPlugin,
  makeEnvironment,
  packEnvironment,
  portTakingPlugin,
  setPlugin,
} from "../support/supervisor-environment";
import {
  allProven,
  eventsOf,
  instancesOf,
  isLive,
  owner,
  releaseIn,
  settings,
  specFor,
  TestPlatform,
  until,
  untilService,
} from "../support/supervisor-platform";

const platform = new TestPlatform();
const service = "studio";
let environment: EnvironmentLocation;
let client: SupervisorClient;
/** One plugin that works. */
let snapshot: string;

beforeAll(async () => {
  environment = makeEnvironment(join(platform.folder, "studio"), { working: workingPlugin });
  writeFileSync(join(environment.root, environment.layout.models, "checkpoints", "tiny.safetensors"), "a model");
  snapshot = await packEnvironment(environment);
  client = await platform.connect();
  await client.claimService(service, { owner, settings, takeover: false });
});
afterAll(() => platform.remove());

/** Packs the environment with one more plugin, which is taken out of it again. */
async function packWith(name: string, source: string): Promise<string> {
  setPlugin(environment, name, source);
  try {
    return await packEnvironment(environment);
  } finally {
    rmSync(join(environment.root, environment.layout.plugins, name), { recursive: true });
  }
}

async function release(spec: ReleaseSpec, count = 1): Promise<Release> {
  const { id } = await client.createRelease(service, { owner, spec });
  return client.setCount(service, id, count);
}

const untilProven = (what: Release, count = 1) => untilService(client, service, "to be proven", allProven(what, count));

async function untilFailed(what: Release) {
  const failed = (phase: string) => phase === "failed";
  const state = await untilService(client, service, "to fail", (seen) =>
    instancesOf(seen, what).some(({ phase }) => failed(phase)),
  );
  const [instance] = instancesOf(state, what);
  if (instance?.evidence == null) throw new Error("a failed instance has no evidence");
  return { instance, evidence: instance.evidence };
}

const remove = (what: Release) => client.removeRelease(service, what.id);

describe("an instance", () => {
  it("is restored, started and proven, in folders of its own and with the models where they are", async () => {
    const spec = { ...specFor(snapshot), environmentVariables: { STUDIO: "yes" }, arguments: ["--verbose", "INFO"] };

    const two = await release(spec, 2);
    const state = await untilProven(two, 2);

    const instances = instancesOf(state, two);
    expect(new Set(instances.map(({ url }) => url)).size).toBe(2);
    for (const { url, pid, index, epoch, restarts, evidence } of instances) {
      expect((await fetch(`${url}/system_stats`)).status).toBe(200);
      expect({ epoch, restarts, evidence }).toEqual({ epoch: 1, restarts: 0, evidence: null });
      const root = join(platform.directory, "services", service, "releases", two.id, "instances", String(index));
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      expect(command).toContain(join(root, "user"));
      expect(readFileSync(`/proc/${pid}/environ`, "utf8").split("\0")).toContain("STUDIO=yes");
      const models = join(root, "environment", environment.layout.models);
      expect(readlinkSync(models)).toBe(join(environment.root, environment.layout.models));
    }
    expect(eventsOf(releaseIn(state, two.id))).toEqual(["created", "started", "proven"]);
    await remove(two);
    expect(platform.processes).toEqual([]);
  });

  it("fails at once when a plugin cannot be imported, with its name and traceback, and holds no process", async () => {
    const broken = await release(specFor(await packWith("broken", brokenPlugin)));

    const { instance, evidence } = await untilFailed(broken);

    expect(evidence).toMatchObject({ instance: `${broken.id}/0`, phase: "importing", plugin: "broken" });
    expect(evidence.traceback).toContain("No module named 'a_module_that_is_missing'");
    expect(instance).toMatchObject({ pid: null, epoch: 1 });
    expect(platform.processes).toEqual([]);
    await remove(broken);
  });

  it("is proven in spite of a failing plugin that is accepted", async () => {
    const accepting = await release(specFor(await packWith("broken", brokenPlugin), { acceptFailing: ["broken"] }));

    const [instance] = instancesOf(await untilProven(accepting), accepting);

    expect(instance?.detail).toContain("plugin broken failed to load");
    await remove(accepting);
  });

  it("fails after three starts that ended by themselves, with the exit and the last lines", async () => {
    const exiting = await release(specFor(await packWith("exiting", exitingPlugin)));

    const { instance, evidence } = await untilFailed(exiting);

    expect(evidence).toMatchObject({ phase: "importing", exit: { code: 3, signal: null } });
    expect(evidence.logTail.join("\n")).toContain("about to end");
    expect(instance.epoch).toBe(3);
    await remove(exiting);
  });

  it("fails when it does not listen in time", async () => {
    const hanging = await release(specFor(await packWith("hanging", hangingPlugin), { startTimeout: 1500 }));

    const { evidence } = await untilFailed(hanging);

    expect(evidence.reason).toMatch(/did not listen at .* within 1.5s/);
    expect(platform.processes).toEqual([]);
    await remove(hanging);
  });

  it("fails when its smoke workflow does, and is proven when that runs to a result", async () => {
    const node = (class_type: string, inputs: object) => ({ "1": { class_type, inputs } });
    const failing = await release(specFor(snapshot, { smoke: node("TestFail", { message: "as asked" }) }));
    const { evidence } = await untilFailed(failing);
    expect(evidence).toMatchObject({ phase: "smoke", reason: expect.stringContaining("as asked") });
    await remove(failing);

    const passing = await release(specFor(snapshot, { smoke: node("TestAddOne", { value: 1 }) }));
    await untilProven(passing);
    await remove(passing);
  });

  it("fails before it starts when a recorded model is missing or has another size, and names it", async () => {
    const models = join(platform.folder, "other models");
    const without = await release({ ...specFor(snapshot), models });

    const { instance, evidence } = await untilFailed(without);

    expect(evidence).toMatchObject({
      phase: "restoring",
      reason: expect.stringContaining("checkpoints/tiny.safetensors is missing"),
    });
    expect(instance.epoch).toBe(0);
    await remove(without);
  });

  it("fails when its snapshot is not there", async () => {
    const digest = "0".repeat(64);
    const lost = await release(specFor(snapshot.replace(/[0-9a-f]{64}$/, digest)));

    const { evidence } = await untilFailed(lost);

    expect(evidence).toMatchObject({ phase: "restoring", reason: expect.stringContaining(digest) });
    await remove(lost);
  });

  it("starts over when its release's count is set again after it failed", async () => {
    const models = join(platform.folder, "models that come later");
    const without = await release({ ...specFor(snapshot), models });
    await untilFailed(without);
    await client.recordEvent(service, without.id, "failed", "a model is missing");
    await client.setCount(service, without.id, 0);
    await untilService(client, service, "to have gone", (state) => instancesOf(state, without).length === 0);

    cpSync(join(environment.root, environment.layout.models), models, { recursive: true });
    await client.setCount(service, without.id, 1);

    const state = await untilProven(without);
    expect(eventsOf(releaseIn(state, without.id))).toEqual(["created", "started", "failed", "started", "proven"]);
    await remove(without);
  });

  it("is started again and proven again when its process ends, in the same folder and with a new epoch", async () => {
    const stable = await release(specFor(snapshot));
    const [first] = instancesOf(await untilProven(stable), stable);
    const kept = join(platform.directory, "services", service, "releases", stable.id, "instances/0/output/kept.txt");
    writeFileSync(kept, "kept");

    process.kill(first?.pid ?? 0, "SIGKILL");

    const state = await untilService(client, service, "to be proven again", (seen) => {
      const [instance] = instancesOf(seen, stable);
      return instance?.phase === "proven" && instance.pid !== first?.pid;
    });
    expect(instancesOf(state, stable)[0]).toMatchObject({ epoch: 2, restarts: 1, url: first?.url, evidence: null });
    expect(existsSync(kept)).toBe(true);
    await remove(stable);
  });

  it("takes another port when its own is taken, without counting that as a failure", async () => {
    const stable = await release(specFor(snapshot));
    const [first] = instancesOf(await untilProven(stable), stable);
    const port = Number(new URL(first?.url ?? "").port);
    await platform.endDaemon("SIGKILL");
    process.kill(first?.pid ?? 0, "SIGKILL");
    await until("it to end", () => !isLive(first?.pid ?? null));
    // A killed process's other threads may hold its port for a moment longer.
    await until("its port to be free", () => isPortFree(port));
    const other = createServer();
    await new Promise<void>((resolve, reject) => other.once("error", reject).listen(port, "127.0.0.1", resolve));

    const [second] = instancesOf(await untilProven(stable), stable);

    expect(new URL(second?.url ?? "").port).not.toBe(String(port));
    expect((await fetch(`${second?.url}/system_stats`)).status).toBe(200);
    await new Promise((resolve) => other.close(resolve));
    await remove(stable);
  });

  it("takes another port when ComfyUI ends since its own was taken meanwhile", async () => {
    const marker = join(platform.folder, "port was taken");
    const unlucky = await release(specFor(await packWith("unlucky", portTakingPlugin(marker))));

    const [instance] = instancesOf(await untilProven(unlucky), unlucky);

    expect(instance).toMatchObject({ epoch: 2, restarts: 0, evidence: null });
    await remove(unlucky);
  });
});

describe("the instances of a release", () => {
  it("stay the same processes over the end of the supervisor, by SIGTERM and by SIGKILL", async () => {
    const stable = await release(specFor(snapshot), 2);
    const pids = instancesOf(await untilProven(stable, 2), stable).map(({ pid }) => pid);

    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await platform.endDaemon(signal);
      expect(pids.every(isLive)).toBe(true);
      const state = await client.service(service);
      expect(state && instancesOf(state, stable)).toMatchObject(
        pids.map((pid) => ({ pid, phase: "proven", epoch: 1, restarts: 0 })),
      );
    }
    await remove(stable);
    expect(pids.some(isLive)).toBe(false);
  });

  it("come to be as many as are wanted wherever the supervisor is killed on the way", async () => {
    const stable = await release(specFor(snapshot), 2);
    // Killed at whatever it does after each of these times, which differs from run to run.
    for (const phase of ["restoring", "booting", "importing", "stabilizing"]) {
      const passed = ({ phases }: { phases: readonly string[] }) =>
        phases.some((seen) => seen === phase || seen === "proven");
      await untilService(client, service, `to be ${phase}`, (state) =>
        passed({ phases: instancesOf(state, stable).map((instance) => instance.phase) }),
      );
      await platform.endDaemon("SIGKILL");
    }

    const state = await untilProven(stable, 2);

    const living = platform.processes.map(({ pid }) => pid).sort();
    expect(living).toEqual(
      instancesOf(state, stable)
        .map(({ pid }) => pid)
        .sort(),
    );
    await remove(stable);
    expect(platform.processes).toEqual([]);
  });

  it("end at once when the release never served, and leave no process and no file", async () => {
    const candidate = await release(specFor(snapshot), 2);
    await untilProven(candidate, 2);

    await client.setCount(service, candidate.id, 0);

    const state = await untilService(client, service, "to go", (seen) => instancesOf(seen, candidate).length === 0);
    expect(releaseIn(state, candidate.id).drain).toBeNull();
    expect(platform.processes).toEqual([]);
    await remove(candidate);
    expect(existsSync(join(platform.directory, "services", service, "releases", candidate.id))).toBe(false);
    const [record] = readServiceRecords(platform.directory);
    expect(eventsOf(record?.releases.find(({ id }) => id === candidate.id) ?? candidate).at(-1)).toBe("removed");
  });

  it("go for good also when the supervisor is killed while it removes them", async () => {
    const stable = await release(specFor(snapshot), 2);
    await untilProven(stable, 2);

    await Promise.all([remove(stable), platform.endDaemon("SIGKILL")]);

    expect(platform.processes).toEqual([]);
    expect(existsSync(join(platform.directory, "services", service, "releases", stable.id))).toBe(false);
    const state = await client.service(service);
    expect(state && eventsOf(releaseIn(state, stable.id)).at(-1)).toBe("removed");
  });

  it("share one complete restore, which goes with the last release that needs it", async () => {
    const one = await release(specFor(snapshot));
    const two = await release(specFor(snapshot, { stableFor: 1 }));
    await untilProven(one);
    await untilProven(two);
    const cached = join(platform.directory, "cache", snapshot.slice(-64));
    expect(existsSync(cached)).toBe(true);

    await remove(one);
    expect(existsSync(cached)).toBe(true);
    await remove(two);

    // Releases of other tests that were not removed would need it too.
    expect(existsSync(cached)).toBe(false);
  });
});
