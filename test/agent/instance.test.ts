import { mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import type { Evidence } from "../../runtime/instance";
import { TestPod } from "../support/agent-pod";
import { brokenPlugin, workingPlugin } from "../support/stand-in-plugins";
import { exitingPlugin, makeEnvironment, packEnvironment, setPlugin } from "../support/supervisor-environment";
import { queueWaiting, until } from "../support/supervisor-platform";

/* ComfyUI's container is a space of process numbers of its own, which takes root. */
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("making containers of processes takes root: tests of agents beside them are skipped");

let folder: string;
let environment: EnvironmentLocation;
/** One plugin that works. */
let snapshot: string;
let pod: TestPod;
let pods = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "agent-test-"));
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  environment = makeEnvironment(join(folder, "studio"), { working: workingPlugin });
  snapshot = await packEnvironment(environment);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => pod.remove());

type More = Parameters<typeof TestPod.make>[2];
async function makePod(reference = snapshot, more: More = {}): Promise<TestPod> {
  pods += 1;
  pod = await TestPod.make(join(folder, `pod-${pods}`), reference, more);
  return pod;
}

/** Packs the environment with one more plugin, which is taken out of it again. */
async function packWith(name: string, source: string): Promise<string> {
  setPlugin(environment, name, source);
  try {
    return await packEnvironment(environment);
  } finally {
    rmSync(join(environment.root, environment.layout.plugins, name), { recursive: true });
  }
}

const evidenceIn = (text: string) => JSON.parse(text) as Evidence;

describe.runIf(isRoot)("an instance", () => {
  it("is restored, then started, then proven, and told to be so", async () => {
    await makePod();
    const agent = pod.startAgent();
    await pod.untilStarted();
    expect([await pod.code("/started"), await pod.code("/ready"), await pod.code("/live")]).toEqual([200, 503, 200]);
    expect(await pod.code("/ready?wait=0.05")).toBe(503);
    const heldUntilReady = pod.code("/ready?wait=60");

    const container = pod.startContainer();

    expect(await pod.untilReady()).toMatchObject({
      protocol: 1,
      service: "studio",
      release: "r1-abcde",
      instance: "r1-abcde/7d9f8-x2x4z",
      phase: "proven",
      start: 1,
      draining: false,
      evidence: null,
    });
    expect([await heldUntilReady, await pod.code("/ready?wait=60")]).toEqual([200, 200]);
    await pod.untilStatus("its queue", ({ queueRemaining }) => queueRemaining === 0);
    expect(await pod.code("/no-such-path")).toBe(404);
    const phases = agent
      .output()
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { phase: string }).phase);
    expect([...new Set(phases)].filter((phase) => phase !== "stabilizing")).toEqual(
      expect.arrayContaining(["restoring", "waiting", "booting", "proven"]),
    );
    container.signal("SIGTERM");
    await container.ended;
  });

  it("is not ready while another start of ComfyUI is not proven, and keeps how the one before ended", async () => {
    await makePod();
    pod.startAgent();
    await pod.untilStarted();
    const container = pod.startContainer();
    await pod.untilReady();

    // As when a node runs out of memory: nobody is told how it ended.
    container.signal("SIGKILL");
    await container.ended;
    pod.startContainer();

    const between = await pod.untilStatus("the second start", ({ start }) => start === 2);
    expect(between.evidence?.reason).toMatch(/^ComfyUI ended: it ended; it printed last: /);
    const again = await pod.untilStatus("proven again", ({ start, ready }) => start === 2 && ready);
    expect(again.evidence).toBeNull();
  });

  it("tells of ComfyUI's own end", async () => {
    await makePod();
    pod.startAgent();
    await pod.untilStarted();
    const container = pod.startContainer();
    await pod.untilReady();
    const pid = pod.read<{ pid: number }>("run.json")?.pid;
    expect(pid).toBeGreaterThan(1);

    // Within its space of process numbers, the launcher's first child.
    process.kill(childIn(container.child.pid ?? 0), "SIGKILL");
    expect((await container.ended).code).toBe(137);

    const status = await pod.untilStatus("not ready", ({ phase }) => phase === "waiting");
    expect(status.evidence).toMatchObject({ phase: "proven", exit: { code: null, signal: "SIGKILL" } });
    expect(status.ready).toBe(false);
  });

  it("goes on being ready when its agent is killed and started again", async () => {
    await makePod();
    const first = pod.startAgent();
    await pod.untilStarted();
    pod.startContainer();
    await pod.untilReady();

    first.signal("SIGKILL");
    await first.ended;
    const second = pod.startAgent();

    await pod.untilReady();
    expect(second.output()).not.toContain('"phase":"restoring"');
    expect(second.output()).not.toContain('"phase":"importing"');
  });

  it("is restored by the next agent when one is killed on the way", async () => {
    await makePod();
    const first = pod.startAgent();
    await until("the restore to have begun", () => first.output().includes("restoring"));
    first.signal("SIGKILL");
    await first.ended;

    pod.startAgent();

    await pod.untilStarted();
    pod.startContainer();
    await pod.untilReady();
  });

  it("does not restore again after its agent has ended", async () => {
    await makePod();
    const first = pod.startAgent();
    await pod.untilStarted();
    first.signal("SIGTERM");
    expect(await first.ended).toEqual({ code: 0, signal: null });
    // Nothing can be restored any more.
    renameSync(join(folder, "store"), join(folder, "store.away"));
    try {
      pod.startAgent();
      await pod.untilStarted();
    } finally {
      renameSync(join(folder, "store.away"), join(folder, "store"));
    }
  });
});

describe.runIf(isRoot)("a fault that another start would repeat", () => {
  it("of a plugin ends the agent with its evidence, and the next agent waits", async () => {
    await makePod(await packWith("broken", brokenPlugin));
    const agent = pod.startAgent();
    await pod.untilStarted();
    pod.startContainer();

    expect(await agent.ended).toEqual({ code: 70, signal: null });

    const evidence = evidenceIn(pod.terminationMessage);
    expect(evidence).toMatchObject({ instance: "r1-abcde/7d9f8-x2x4z", phase: "importing", plugin: "broken" });
    expect(evidence.reason).toContain("No module named 'a_module_that_is_missing'");
    expect(evidence.traceback).toContain("ModuleNotFoundError");
    expect(evidence.logTail.join("\n")).toContain("IMPORT FAILED");
    rmSync(pod.terminationLog);
    const next = pod.startAgent();
    expect(await pod.untilStatus("failed", ({ phase }) => phase === "failed")).toMatchObject({
      started: true,
      ready: false,
      evidence: { plugin: "broken" },
    });
    next.signal("SIGTERM");
    // Kubernetes keeps the last end of a container only.
    expect(await next.ended).toEqual({ code: 70, signal: null });
    expect(evidenceIn(pod.terminationMessage)).toMatchObject({ plugin: "broken" });
  });

  it("of a plugin that ends the process is found after three starts", async () => {
    await makePod(await packWith("exiting", exitingPlugin));
    const agent = pod.startAgent();
    await pod.untilStarted();
    for (let start = 1; start <= 3; start++) expect((await pod.startContainer().ended).code).toBe(3);

    expect((await agent.ended).code).toBe(70);
    expect(evidenceIn(pod.terminationMessage)).toMatchObject({
      phase: "importing",
      exit: { code: 3, signal: null },
      reason: expect.stringContaining("it exited with code 3; it printed last: about to end"),
    });
  });

  it("of a smoke workflow tells what ComfyUI said", async () => {
    const smoke = { "1": { class_type: "TestFail", inputs: { message: "no such GPU" } } };
    await makePod(snapshot, { health: { smoke } });
    const agent = pod.startAgent();
    await pod.untilStarted();
    pod.startContainer();

    expect((await agent.ended).code).toBe(70);
    expect(evidenceIn(pod.terminationMessage)).toMatchObject({
      phase: "smoke",
      reason: expect.stringContaining("no such GPU"),
    });
  });

  it("does not make the agent read what only its own container has", async () => {
    writeFileSync(join(folder, "token"), "a secret token\n");
    await makePod(await packWith("broken", brokenPlugin));
    const agent = pod.startAgent();
    await pod.untilStarted();
    // What a plugin may do with its log.
    symlinkSync(join(folder, "token"), join(pod.own, "comfyui.log"));
    writeFileSync(join(pod.launcher, "run.json"), JSON.stringify({ start: 3, pid: 7 }));
    writeFileSync(join(pod.launcher, "exit.json"), JSON.stringify({ start: 3, code: 1, signal: null }));

    expect((await agent.ended).code).toBe(70);
    expect(evidenceIn(pod.terminationMessage).logTail).toEqual([]);
  });
});

describe.runIf(isRoot)("an instance that has to go", () => {
  it("finishes its prompts, waits for the gateway's word, and ends", async () => {
    await makePod();
    const agent = pod.startAgent();
    await pod.untilStarted();
    const container = pod.startContainer();
    await pod.untilReady();
    const file = join(pod.root, "finish");
    await queueWaiting(pod.comfyuiUrl, file);
    expect(await pod.code("/ready?wait=60")).toBe(200);

    let answered = false;
    const drain = pod.code("/drain").finally(() => {
      answered = true;
    });
    await pod.untilStatus("draining", ({ draining, queueRemaining }) => draining && queueRemaining === 1);
    expect(await pod.code("/ready?wait=60"), "not held, since it was ready a moment ago").toBe(503);
    expect(await pod.code("/released", "POST")).toBe(409);
    writeFileSync(file, "");
    await pod.untilStatus("an empty queue", ({ queueRemaining }) => queueRemaining === 0);
    expect(answered).toBe(false);
    await pod.code("/released", "POST");
    expect(await drain).toBe(200);
    container.signal("SIGTERM");
    expect((await container.ended).code).toBe(0);
    agent.signal("SIGTERM");
    expect((await agent.ended).code).toBe(0);
    expect(pod.read("fault.json")).toBeNull();
  });

  it("goes without a gateway's word after a while", async () => {
    await makePod();
    const agent = pod.startAgent({ unheard: "300" });
    await pod.untilStarted();
    pod.startContainer();
    await pod.untilReady();

    expect(await pod.code("/drain")).toBe(200);
    expect(agent.output()).toContain('"message":"drained"');
  });

  it("goes at its deadline, whatever it still has", async () => {
    await makePod(snapshot, { drainDeadline: 500 });
    const agent = pod.startAgent();
    await pod.untilStarted();
    pod.startContainer();
    await pod.untilReady();
    await queueWaiting(pod.comfyuiUrl, join(pod.root, "never"));

    expect(await pod.code("/drain")).toBe(200);
    expect(agent.output()).toContain("the drain's deadline has come");
  });

  it("goes at once before it was proven, and where ComfyUI has ended", async () => {
    await makePod(snapshot, { health: { stableFor: 3_600_000 } });
    pod.startAgent();
    await pod.untilStarted();
    expect(await pod.code("/drain")).toBe(200);
    pod.startContainer();
    await pod.untilStatus("started", ({ phase }) => phase === "stabilizing");

    expect(await pod.code("/drain")).toBe(200);
  });

  it("keeps its agent until ComfyUI has ended", async () => {
    await makePod();
    const agent = pod.startAgent();
    await pod.untilStarted();
    const container = pod.startContainer();
    await pod.untilReady();

    agent.signal("SIGTERM");
    await pod.untilStatus("not ready", ({ ready }) => !ready);
    expect(agent.child.exitCode).toBeNull();
    container.signal("SIGTERM");

    expect((await agent.ended).code).toBe(0);
  });

  it("gives its agent up when the grace is over", async () => {
    await makePod();
    const agent = pod.startAgent({ grace: "100" });
    await pod.untilStarted();
    pod.startContainer();
    await pod.untilReady();

    agent.signal("SIGTERM");

    expect((await agent.ended).code).toBe(0);
  });
});

describe.runIf(isRoot)("a ComfyUI that hangs", () => {
  it("is told to be started again, without a drain, and its next start is proven", async () => {
    await makePod();
    // The launcher's pulses come every 5 s.
    pod.startAgent({ "longest-silence": "6000", "look-interval": "200" });
    await pod.untilStarted();
    const container = pod.startContainer();
    await pod.untilReady();
    process.kill(childIn(container.child.pid ?? 0), "SIGSTOP");

    const hung = await pod.untilStatus("not alive", ({ live }) => !live);

    expect(hung).toMatchObject({ ready: false, draining: false });
    expect(hung.detail).toMatch(/neither answered, nor computed, nor read or written anything/);
    expect(await pod.code("/live")).toBe(503);
    // The kubelet asks before it ends a container.
    expect(await pod.code("/drain")).toBe(200);
    container.signal("SIGKILL");
    await container.ended;
    pod.startContainer();
    await pod.untilStatus("proven again", ({ start, ready, live }) => start === 2 && ready && live);
  });

  it("is not while it computes without ever answering", async () => {
    await makePod(await packWith("computing", computingPlugin));
    const agent = pod.startAgent({ "longest-silence": "6000", "look-interval": "200" });
    await pod.untilStarted();
    pod.startContainer();
    await pod.untilReady();
    await fetch(`${pod.comfyuiUrl}/prompt`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: { "1": { class_type: "HoldTheLock", inputs: {} } } }),
    });
    const first = pod.read<{ at: string }>("pulse.json")?.at;
    let pulses = new Set([first]);

    await until("it to have computed for longer than the longest silence", () => {
      pulses = pulses.add(pod.read<{ at: string }>("pulse.json")?.at);
      return pulses.size > 3;
    });

    expect(await pod.code("/live")).toBe(200);
    expect(agent.output()).not.toContain("it is to be started again");
  });
});

/** A node that never gives the interpreter's lock back. */
const computingPlugin = `
class HoldTheLock:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        import sys
        sys.setswitchinterval(3600)
        sum(iter(int, 1))


NODE_CLASS_MAPPINGS = {"HoldTheLock": HoldTheLock}
`;

/** ComfyUI in a container: the child of its process 1, which is the child of \`unshare\`. */
function childIn(unshare: number): number {
  const children = (pid: number) => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  const [first = "0"] = children(unshare);
  return Number(children(Number(first))[0]);
}
