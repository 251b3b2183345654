import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { EnvironmentLocation } from "../../runtime/environment";
import { scan } from "../../runtime/snapshot";
import { brokenPlugin, workingPlugin } from "../support/stand-in-plugins";
import { exitingPlugin, makeEnvironment, packEnvironment, setPlugin } from "../support/supervisor-environment";
import { queueWaiting } from "../support/supervisor-platform";
import { WorkstationPod, type WorkstationPodOptions } from "../support/workstation-pod";

let folder: string;
let environment: EnvironmentLocation;
let snapshot: string;
let pod: WorkstationPod;
let pods = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "workstation-agent-"));
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  environment = makeEnvironment(join(folder, "studio"), { working: workingPlugin, broken: brokenPlugin });
  snapshot = await packEnvironment(environment);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => pod.remove());

/** A pod on a claim with the environment, unless it is told of another one. */
async function makePod(options: WorkstationPodOptions = {}): Promise<WorkstationPod> {
  pods += 1;
  const root = join(folder, `pod-${pods}`);
  if (options.claim === undefined && options.from === undefined) {
    cpSync(environment.root, join(root, "claim"), {
      recursive: true,
      verbatimSymlinks: true,
      preserveTimestamps: true,
    });
  }
  pod = await WorkstationPod.make(root, options);
  return pod;
}

const locationOf = ({ claim }: WorkstationPod): EnvironmentLocation => ({ ...environment, root: claim });

describe("a workstation", () => {
  it("runs ComfyUI on its claim, in the environment's own folders, and is reached by the way that knows who comes", async () => {
    await makePod();
    const { comfyui } = await pod.start();

    expect(await (await fetch(`${pod.url}/system_stats`)).json()).toHaveProperty("system");
    expect([await pod.code("/started"), await pod.code("/ready"), await pod.code("/live")]).toEqual([200, 200, 200]);
    const start = JSON.parse(readFileSync(join(pod.root, "launcher/start.json"), "utf8")) as { command: string[] };
    expect(start.command.slice(2)).toEqual(["--listen", "127.0.0.1", "--port", String(pod.spec.ports.comfyui)]);
    comfyui.signal("SIGTERM");
    await comfyui.ended;
  });

  it("says that it does not answer yet to whoever comes before ComfyUI", async () => {
    await makePod();
    pod.startAgent();
    await pod.untilStarted();

    const response = await fetch(pod.url);

    expect(response.status).toBe(503);
    expect(await response.text()).toMatch(/^The workstation does not answer yet: waiting/);
  });

  it("fills an empty claim from its snapshot, and leaves what is there alone at the next start", async () => {
    const from = { reference: snapshot, store: {} };
    await makePod({ from });
    await pod.start();
    const { summary } = await scan({ environment: locationOf(pod), models: "referenced" });
    expect(snapshot).toContain("#sha256:");
    expect(summary.plugins).toHaveProperty("working");
    await pod.end();

    const mine = join(pod.claim, "ComfyUI/custom_nodes/working/__init__.py");
    writeFileSync(mine, `${workingPlugin}\n# edited by its person\n`);
    const { claim } = pod;
    const first = pod;
    await makePod({ from, claim });
    await pod.start();

    expect(readFileSync(mine, "utf8")).toContain("edited by its person");
    await pod.end();
    await first.remove();
  });

  it("goes on with a restore that was cut short, and touches no other incomplete environment", async () => {
    const from = { reference: snapshot, store: {} };
    await makePod({ from });
    mkdirSync(join(pod.claim, "ComfyUI"), { recursive: true });
    writeFileSync(join(pod.claim, "ComfyUI/left.txt"), "");
    const marker = join(pod.claim, ".comfyui-incomplete");
    writeFileSync(marker, JSON.stringify({ token: "", reference: `/elsewhere#sha256:${"a".repeat(64)}` }));
    pod.startAgent();
    const { blocked } = await pod.untilStatus("blocked", (status) => status.blocked !== null);
    expect(blocked).toMatch(/is incomplete: a restore of \/elsewhere/);
    expect(existsSync(join(pod.claim, "ComfyUI/left.txt"))).toBe(true);

    writeFileSync(marker, JSON.stringify({ token: "", reference: snapshot }));

    await pod.untilStarted();
    expect(existsSync(join(pod.claim, "ComfyUI/main.py"))).toBe(true);
  });

  it("waits for the environment that its person brings, and says what is missing", async () => {
    await makePod({ claim: join(folder, "brought") });
    pod.startAgent();
    const { blocked } = await pod.untilStatus("blocked", (status) => status.blocked !== null);
    expect(blocked).toContain("the claim has no complete environment: ComfyUI/main.py is missing");
    expect(await pod.code("/started")).toBe(503);

    cpSync(environment.root, pod.claim, { recursive: true, verbatimSymlinks: true });

    await pod.untilStarted();
  });

  it("leads the environment's models to the volume for them, but not where the environment has files of its own", async () => {
    const models = join(folder, "models");
    mkdirSync(models, { recursive: true });
    await makePod({ spec: { models } });
    const own = join(pod.claim, "ComfyUI/models/checkpoints/mine.safetensors");
    writeFileSync(own, "weights");
    pod.startAgent();
    const { blocked } = await pod.untilStatus("blocked", (status) => status.blocked !== null);
    expect(blocked).toContain("has files, and a claim is declared for models");

    rmSync(own);

    await pod.untilStarted();
    expect(lstatSync(join(pod.claim, "ComfyUI/models")).isSymbolicLink()).toBe(true);
  });

  it("holds a stop back until its prompt has ended, and takes no new start for it", async () => {
    await makePod();
    const { comfyui } = await pod.start();
    const go = join(folder, `go-${pods}`);
    await queueWaiting(pod.url, go);
    await pod.untilStatus("a prompt", ({ queueRemaining }) => queueRemaining === 1);

    const drained = fetch(`${pod.agentUrl}/drain`);
    await pod.untilStatus("stopping", ({ phase, detail }) => phase === "stopping" && /1 prompt left/.test(detail));
    expect(await pod.code("/ready")).toBe(503);
    writeFileSync(go, "");

    expect((await drained).status).toBe(200);
    comfyui.signal("SIGTERM");
    await comfyui.ended;
  });

  it("is failed with evidence after three starts that came to nothing, and goes on trying", async () => {
    await makePod();
    setPlugin(locationOf(pod), "ending", exitingPlugin);
    pod.startAgent();
    await pod.untilStarted();
    for (let start = 1; start <= 3; start++) {
      await pod.startComfyUI().ended;
      await pod.untilStatus(
        "its end",
        (status) => status.start === start && status.evidence !== null && status.phase !== "booting",
      );
    }
    const { phase, evidence } = await pod.untilStatus("failed", (status) => status.phase === "failed");
    expect(phase).toBe("failed");
    expect(evidence?.reason).toMatch(/it exited with code 3; it printed last: about to end/);

    rmSync(join(pod.claim, "ComfyUI/custom_nodes/ending"), { recursive: true });
    pod.startComfyUI();
    expect((await pod.untilStatus("running", (status) => status.phase === "running")).evidence).toBeNull();
  });

  it("ends with its evidence where a snapshot cannot be restored however often it is tried", async () => {
    await makePod({ from: { reference: `${folder}/store#sha256:${"0".repeat(64)}`, store: {} } });
    const agent = pod.startAgent();
    expect((await agent.ended).code).toBe(70);
    const evidence = JSON.parse(readFileSync(join(pod.root, "termination-log"), "utf8"));
    expect(evidence).toMatchObject({ instance: "studio", phase: "restoring" });
    expect(readdirSync(pod.claim)).toEqual([]);
  });
});
