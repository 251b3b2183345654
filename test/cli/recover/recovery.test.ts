import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { recordService, recordWorkstation, releaseOf } from "../../support/cli-platform";
import { startWaiting } from "../../support/cli-processes";
import { makeStack, pathWithPulumi, type TestStack } from "../../support/cli-pulumi";
import { runCli } from "../../support/cli-run";
import { pending, stackState, stateResource } from "../../support/cli-stack-state";
import { writeFiles } from "../../support/cli-surroundings";

/** No process has it: Linux gives pids up to 2^22 only. */
const deadPid = 2 ** 22 + 1;

function lockStack({ locks }: TestStack, pid = deadPid, host = hostname()): void {
  const lock = { pid, username: "me", hostname: host, timestamp: new Date().toISOString() };
  writeFiles(locks, { "0f3a.json": JSON.stringify(lock) });
}

const locksOf = ({ locks }: TestStack) => (existsSync(locks) ? readdirSync(locks) : []);

describe.skipIf(pathWithPulumi === null)("recover with a real stack", () => {
  const path = pathWithPulumi ?? "";
  const interrupted = stackState({ pending: [pending("creating", stateResource("Workstation", {}))] });

  it("takes a dead run's lock away and clears its pending operations; a second time there is nothing to do", async () => {
    const stack = makeStack(path, interrupted);
    lockStack(stack);
    const context = { cwd: stack.project, environment: stack.environment };

    const first = await runCli(["recover", "--json"], context);
    const second = await runCli(["recover"], context);

    expect([first.code, first.json]).toMatchObject([
      0,
      {
        project: "studio",
        stack: "dev",
        recovered: true,
        lock: { cancelled: true },
        pendingOperations: [{ operation: "creating", cleared: true }],
        orphans: [],
      },
    ]);
    expect(locksOf(stack)).toEqual([]);
    expect(stack.exportState().deployment.pending_operations ?? []).toEqual([]);
    expect([second.code, second.stdout]).toEqual([0, "Nothing to recover. Run pulumi up.\n"]);
  });

  it("changes nothing in a dry run and says what it found", async () => {
    const stack = makeStack(path, interrupted);
    lockStack(stack);

    const { code, stdout, stderr } = await runCli(["recover", "--dry-run"], {
      cwd: stack.project,
      environment: stack.environment,
    });

    expect(code).toBe(3);
    expect(stdout).toContain("Found: a lock; 1 pending operation. Nothing was changed");
    expect(stderr).toContain("pending: creating urn:pulumi:dev::studio::");
    expect(locksOf(stack)).toHaveLength(1);
    expect(stack.exportState().deployment.pending_operations).toHaveLength(1);
  });

  it("refuses while the run is alive", async () => {
    const stack = makeStack(path, interrupted);
    const { pid } = await startWaiting("pulumi", ["up", "--stack", "dev"], { cwd: stack.project });
    const context = { cwd: stack.project, environment: stack.environment };

    const withoutLock = await runCli(["recover", "--yes"], context);
    lockStack(stack, pid);
    const withLock = await runCli(["recover", "--yes", "--json"], context);

    expect([withoutLock.code, withLock.code]).toEqual([1, 1]);
    expect(withoutLock.stderr).toContain(`still under way (process ${pid})`);
    expect(locksOf(stack)).toHaveLength(1);
    expect(stack.exportState().deployment.pending_operations).toHaveLength(1);
  });

  it("asks about a lock from another machine, and leaves everything alone without a yes", async () => {
    const stack = makeStack(path, interrupted);
    lockStack(stack, 1, "elsewhere");
    const questions: string[] = [];
    const answering = (answer: string) => async (question: string) => {
      questions.push(question);
      return answer;
    };
    const context = { cwd: stack.project, environment: stack.environment };

    const nobody = await runCli(["recover"], context);
    const no = await runCli(["recover"], { ...context, ask: answering("") });
    const left = [locksOf(stack).length, stack.exportState().deployment.pending_operations];
    const yes = await runCli(["recover"], { ...context, ask: answering("y") });

    expect([nobody.code, no.code, yes.code]).toEqual([3, 3, 0]);
    expect(questions[0]).toContain("Is the run that has locked dev really gone?");
    expect(left).toMatchObject([1, [{ type: "creating" }]]);
    expect(locksOf(stack)).toEqual([]);
  });

  it("ends a dynamic provider that outlived its engine", async () => {
    const stack = makeStack(path);
    const script = "/x/node_modules/@pulumi/pulumi/cmd/dynamic-provider";
    // Nothing listens on port 1 of this machine.
    const provider = await startWaiting("node", [script, "127.0.0.1:1"], { cwd: stack.project });
    const context = { cwd: stack.project, environment: stack.environment };

    const dry = await runCli(["recover", "--dry-run", "--json"], context);
    const stillThere = provider.exitCode === null && provider.signalCode === null;
    const real = await runCli(["recover", "--json"], context);

    expect([dry.code, stillThere]).toEqual([3, true]);
    expect(real.json).toMatchObject({ leftOvers: [{ pid: provider.pid, ended: true }], recovered: true });
  });

  it("lists what no resource knows, from the records where no supervisor runs, and keeps it without a yes", async () => {
    const serving = releaseOf(1, ["created", "started", "proven", "serving"]);
    const orphan = releaseOf(2, ["created", "started"]);
    const stack = makeStack(path);
    const directory = join(stack.project, ".comfyui");
    recordService(directory, { serving: serving.id, releases: [serving, orphan], gatewayPort: 8188 });
    recordWorkstation(directory, { name: "left", state: "stopped" });

    const { code, json } = await runCli(["recover", "--json"], {
      cwd: stack.project,
      environment: stack.environment,
    });

    expect(code).toBe(3);
    expect(json).toMatchObject({
      recovered: false,
      orphans: [
        { kind: "service", service: "studio", serves: true, removed: false, directory },
        { kind: "workstation", workstation: "left", removed: false },
      ],
    });
    expect(existsSync(join(directory, "workstations", "left"))).toBe(true);
  });

  it("compares with what the state knows of the directory that its resources name", async () => {
    const serving = releaseOf(1, ["created", "started", "proven", "serving"]);
    const orphan = releaseOf(2, ["created", "started"]);
    const place = { directory: "../platform", service: "studio" };
    const stack = makeStack(
      path,
      stackState({
        resources: [
          stateResource("ServiceClaim", place),
          stateResource("Gateway", place),
          stateResource("Release", { ...place, release: serving.id }),
          stateResource("Instances", { ...place, release: serving.id }),
          stateResource("TrafficSwitch", place),
        ],
      }),
    );
    const directory = join(stack.project, "..", "platform");
    mkdirSync(directory);
    recordService(directory, { serving: serving.id, releases: [serving, orphan], gatewayPort: 8188 });

    const { code, json } = await runCli(["recover", "--dry-run", "--json"], {
      cwd: stack.project,
      environment: stack.environment,
    });

    expect(code).toBe(3);
    expect(json).toMatchObject({ orphans: [{ kind: "release", release: orphan.id, serves: false }] });
  });

  it("fails with what pulumi says about a stack that does not exist", async () => {
    const stack = makeStack(path);

    const { code, stderr } = await runCli(["recover", "--stack", "prod"], {
      cwd: stack.project,
      environment: stack.environment,
    });

    expect(code).toBe(1);
    expect(stderr).toContain("no stack named 'prod' found");
  });
});
