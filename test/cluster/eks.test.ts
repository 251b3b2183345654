import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { runCli } from "../support/cli-run";
import { onLab } from "../support/cluster";
import { EksServices } from "../support/eks-service";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import type { Run } from "../support/run-program";
import { brokenPlugin } from "../support/stand-in-plugins";
import { startTraffic, type Traffic } from "../support/traffic";

let eks: EksServices;
/** From the first release on: whatever happens to releases, clients see nothing of it. */
let traffic: Traffic;
let version = 0;

/** Another snapshot, which is another release. */
const publishNext = () => {
  version += 1;
  return eks.publish({ painter: painter(String(version)) });
};

/** An update failed with the cloud's reason, and nothing else happened: no node of the release that failed is left. */
async function expectRefused(run: Run, serving: string, ...causes: readonly (string | RegExp)[]): Promise<string> {
  expect(run.code, run.output).not.toBe(0);
  for (const cause of causes) expect(run.output).toMatch(cause);
  expect(run.output).toContain(`traffic stays on ${serving}`);
  expect(await eks.serving()).toBe(serving);
  const failed = (await eks.releases()).at(-1);
  expect(failed?.events.at(-1)?.event).toBe("failed");
  await eks.untilGroups({ [`studio-${serving}`]: 1, [`studio-${failed?.id}`]: 0 });
  return failed?.id ?? "";
}

/** The next update passes; there is one release, one group, one node. */
async function expectPasses(): Promise<string> {
  const run = await eks.project.up();
  expect(run.code, run.output).toBe(0);
  const serving = await eks.serving();
  await eks.untilGroups({ [`studio-${serving}`]: 1 });
  expect((await eks.services.instances()).map(({ release, phase }) => [release, phase])).toEqual([[serving, "proven"]]);
  return serving;
}

beforeAll(async () => {
  if (!onLab) return;
  eks = await EksServices.create("eks");
  eks.services.makeEnvironment({ painter: painter("0") });
  await eks.services.publish();
  eks.declare();
  await eks.project.mustUp();
  traffic = startTraffic({
    url: await eks.services.url(),
    clients: 3,
    workflow: (client, prompt) => paint(0.2 + client * 0.3, `${client}-${prompt}`),
    versionIn: paintedBy,
    patience: 120_000,
  });
});

afterAll(async () => {
  await traffic?.stop();
  await eks?.[Symbol.asyncDispose]();
});

describe.runIf(onLab)("nodes of a release's own", () => {
  test("come before a release's pods and go after them, and the group goes last", async () => {
    const first = await eks.serving();
    await publishNext();
    const second = await expectPasses();

    const story = await eks.story(first, second);
    const rotation = story
      .slice(story.indexOf(`created ${second}`))
      // A group's deletion may begin while its last node is on its way out.
      .filter((event) => !/^(started|draining|removed|no pods|group deleting) /.test(event));
    expect(rotation).toEqual([
      `created ${second}`,
      `group created ${second} desired 0`,
      `group scaled ${second} 0 to 1`,
      `node joined ${second}`,
      `pods ${second}`,
      `proven ${second}`,
      `serving ${second}`,
      `drained ${first}`,
      `group scaled ${first} 1 to 0`,
      `node ends ${first} 0 pods`,
      `node gone ${first}`,
      `group gone ${first}`,
    ]);
    expect(traffic.seen.complaints).toEqual([]);
    expect([...traffic.seen.versions].sort()).toEqual(["0", "1"]);
  });

  test("are given back when EC2 has no capacity for them; the old release serves on, and the next update passes", async () => {
    const serving = await eks.serving();
    eks.aws.groups.faults.launch = "capacity";
    eks.declare({ placement: { timeout: "6s" } });
    await publishNext();
    const failed = await expectRefused(
      await eks.project.up(),
      serving,
      "We currently do not have sufficient g6.xlarge capacity",
    );
    expect(await eks.story(failed)).not.toContain(`pods ${failed}`);

    delete eks.aws.groups.faults.launch;
    eks.declare();
    expect(await expectPasses()).toBe(failed);
    expect(traffic.seen.complaints).toEqual([]);
  });
});

describe.runIf(onLab)("nodes of a release's own, further", () => {
  test("are given back at once when a quota forbids them", async () => {
    const serving = await eks.serving();
    eks.aws.groups.faults.launch = "quota";
    await publishNext();
    // Their time-out is 20 minutes.
    await expectRefused(await eks.project.up(), serving, "more vCPU capacity than your current vCPU limit of 4");
    delete eks.aws.groups.faults.launch;
    await expectPasses();
  });

  test("are given back when the instances on them are not healthy", async () => {
    const serving = await eks.serving();
    await eks.publish({ broken: brokenPlugin });
    await expectRefused(await eks.project.up(), serving, "plugin broken: No module named 'a_module_that_is_missing'");
    eks.project.removePlugin("broken");
    await publishNext();
    await expectPasses();
  });

  test("follow the number of instances in place; those that go have no pods any more", async () => {
    const serving = await eks.serving();
    eks.declare({ count: 3 });
    await eks.project.mustUp();
    await eks.untilGroups({ [`studio-${serving}`]: 3 });
    expect((await eks.services.instances()).map(({ phase }) => phase)).toEqual(["proven", "proven", "proven"]);

    // EKS' requests are throttled, as in a busy account.
    eks.aws.groups.faults.throttled = 5;
    eks.declare({ count: 1 });
    expect(await expectPasses()).toBe(serving);
    const story = await eks.story(serving);
    expect(story.filter((event) => event.startsWith("node ends"))).toEqual([
      `node ends ${serving} 0 pods`,
      `node ends ${serving} 0 pods`,
    ]);
  });

  test("are neither lost nor doubled when the engine is killed at any step of a rotation", async () => {
    const first = await eks.serving();
    const { delays } = eks.aws.groups;
    Object.assign(delays, { create: 3_000, update: 2_000, launch: 2_000, delete: 3_000 });
    await publishNext();
    const newest = async () => (await eks.releases()).at(-1)?.id ?? "";
    const happened = (what: string) => async () => {
      const release = await newest();
      const event = what.replaceAll("NEW", release === first ? "none yet" : release).replaceAll("OLD", first);
      return (await eks.story(first, release)).some((known) => known.startsWith(event));
    };
    const target = () => eks.services.records().target();
    for (const [what, look] of Object.entries({
      "the group to be begun": happened("group created NEW desired 0"),
      "the group to be scaled": happened("group scaled NEW 0 to 1"),
      "the gate to wait": happened("pods NEW"),
      "traffic to move": async () => (await target()).release !== first,
      "the old release to drain": async () => (await target()).draining.includes(first),
      "the old group to be scaled to nothing": happened(`group scaled OLD 1 to 0`),
      "the old group to be deleted": happened("group deleting OLD"),
    })) {
      await killedOnce(what, look);
      await recover();
    }
    Object.assign(delays, { create: 300, update: 300, launch: 300, delete: 300 });
    const second = await expectPasses();
    expect((await eks.story(second)).filter((event) => /^(group created|node joined|node gone)/.test(event))).toEqual([
      `group created ${second} desired 0`,
      `node joined ${second}`,
    ]);
    expect(await recover()).toMatchObject({ orphans: [], pendingOperations: [], leftOvers: [] });
  });
});

describe.runIf(onLab)("nodes that services share", () => {
  const shared = (release: string) => ({
    placement: "gpus",
    nodeGroups: [{ name: "gpus", size: 1, ami: { release } }],
  });

  test("are replaced when their AMI's release changes: the service rotates onto the new ones, and the old ones go last", async () => {
    eks.declare(shared("1.34.0-20260101"));
    await eks.project.mustUp();
    const [before] = eks.aws.groups.all();
    eks.declare(shared("1.34.1-20260201"));
    await eks.project.mustUp();
    const [after, ...others] = eks.aws.groups.all();
    expect([after?.name === before?.name, others, after?.spec.releaseVersion]).toEqual([false, [], "1.34.1-20260201"]);
    await eks.untilGroups({ [after?.name ?? ""]: 1 });

    const serving = await eks.serving();
    const story = await eks.story(serving, before?.name ?? "", after?.name ?? "");
    expect(
      story
        .slice(story.indexOf(`group created ${after?.name} desired 1`))
        .filter((event) => !event.startsWith("started")),
    ).toEqual([
      `group created ${after?.name} desired 1`,
      `node joined ${after?.name}`,
      `created ${serving}`,
      `pods ${serving}`,
      `proven ${serving}`,
      `serving ${serving}`,
      `group deleting ${before?.name} 1 nodes`,
      `node ends ${before?.name} 0 pods`,
      `node gone ${before?.name}`,
      `group gone ${before?.name}`,
    ]);
  });
});

describe.runIf(onLab)("a stack that is destroyed", () => {
  test("leaves no node, group, template or object, and its clients had nothing to complain of until then", async () => {
    expect((await traffic.stop()).complaints).toEqual([]);
    const destroyed = await eks.project.destroy();
    expect(destroyed.code, destroyed.output).toBe(0);
    await eks.untilGroups({});
    expect(eks.aws.things.all()).toEqual([]);
    expect(await eks.services.objects()).toEqual([]);
    expect(eks.aws.groups.events.filter(({ what }) => what === "fake failed" || what === "group rolled")).toEqual([]);
  });
});

async function recover() {
  const { project } = eks;
  const context = { cwd: project.folder, environment: project.environmentVariables };
  const { code, stdout, stderr } = await runCli(["recover", "--yes", "--json"], context);
  if (code !== 0) throw new Error(`recover ended with ${code}: ${stdout}${stderr}`);
  return JSON.parse(stdout);
}

/** Starts `pulumi up` and kills its engine as soon as something has come to be; the processes that it started live on. */
async function killedOnce(what: string, look: () => Promise<boolean>) {
  const run = eks.project.start("up", "--yes", "--skip-preview");
  let ended: Run | undefined;
  void run.ended.then((result) => {
    ended = result;
  });
  await waitFor({
    what,
    deadline: 180_000,
    interval: 20,
    look: async () => {
      if (ended !== undefined) throw new Error(`pulumi up ended before ${what}:\n${ended.output}`);
      return (await look()) || undefined;
    },
  });
  await run.kill();
}
