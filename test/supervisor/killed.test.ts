import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Release, type ServiceState, type SupervisorClient, SupervisorError } from "../../runtime/supervisor";
import { waitFor } from "../../runtime/waiting";
import { workingPlugin } from "../support/stand-in-plugins";
import { makeEnvironment, packEnvironment } from "../support/supervisor-environment";
import {
  allProven,
  eventsOf,
  instancesOf,
  owner,
  patience,
  releaseIn,
  settings,
  specFor,
  TestPlatform,
  until,
  untilService,
} from "../support/supervisor-platform";

const service = "studio";
/** Kills of the supervisor, and the longest time that it is left alive in between. */
const kills = 15;
const longestLife = 1_500;
const seed = 20_260_501;

let platform: TestPlatform;
let client: SupervisorClient;

beforeEach(async () => {
  platform = new TestPlatform();
  client = await platform.connect();
});
afterEach(() => platform.remove());

/** Numbers from 0 to 1, the same ones for the same seed (mulberry32). */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Does a step of a deployment again until it has not been interrupted; what the supervisor refuses is a failure. */
async function again<T>(step: () => Promise<T>): Promise<T> {
  let last = "";
  return waitFor({
    what: "a step that is not interrupted",
    deadline: patience,
    look: async () => {
      try {
        return { value: await step() };
      } catch (error) {
        if (error instanceof SupervisorError) throw error;
        last = String(error);
        return undefined;
      }
    },
    seen: () => last,
  }).then(({ value }) => value);
}

const reached = (what: string, condition: (state: ServiceState) => boolean) =>
  again(() => untilService(client, service, what, condition));

/** One rotation, as a deployment makes it; each step states what is wanted and may be done again. */
async function rotate(snapshot: string, number: number, previous: Release | null): Promise<Release> {
  const spec = { ...specFor(snapshot), environmentVariables: { ROTATION: String(number) } };
  const release = await again(() => client.createRelease(service, { owner, spec }));
  await again(() => client.setCount(service, release.id, 2));
  await reached("to be proven", allProven(release, 2));
  await again(() =>
    client.setTarget(service, { release: release.id, expectedServing: previous === null ? null : previous.id }),
  );
  if (previous !== null) {
    await again(() => client.setCount(service, previous.id, 0));
    await reached("to drain", (state) => instancesOf(state, previous).length === 0);
    await again(() => client.removeRelease(service, previous.id));
  }
  return release;
}

describe("a supervisor that is killed at any moment of a rotation", () => {
  it("lets every rotation converge, always serves, and leaves no process and no file", {
    timeout: 240_000,
  }, async () => {
    const environment = makeEnvironment(join(platform.folder, "studio"), { working: workingPlugin });
    const snapshot = await packEnvironment(environment);
    await client.claimService(service, { owner, settings, takeover: false });
    const gateway = await client.declareGateway(service, {
      port: null,
      apiKeyHashes: [],
      maximumBodySize: 2 ** 20,
      resultRetention: 60_000,
      maximumSpoolSize: 2 ** 24,
    });
    let serving = await rotate(snapshot, 0, null);
    const random = randomFrom(seed);
    let killed = 0;
    const killing = (async () => {
      for (; killed < kills; killed++) {
        await delay(random() * longestLife);
        await until("a supervisor to kill", () => platform.presence !== null);
        await platform.endDaemon("SIGKILL");
      }
    })();
    const refused: string[] = [];
    let asked = 0;
    let rotating = true;
    const asking = (async () => {
      for (; rotating; asked++) {
        const answer = await fetch(`${gateway.url}/system_stats`).catch((error: Error) => ({ status: error.message }));
        if (answer.status !== 200) refused.push(`${asked}: ${answer.status}`);
        await delay(20);
      }
    })();

    for (let number = 1; killed < kills || number <= 2; number++) serving = await rotate(snapshot, number, serving);
    await killing;
    rotating = false;
    await asking;

    expect(asked).toBeGreaterThan(0);
    expect(refused).toEqual([]);
    const state = await untilService(client, service, "to be as it was wanted", (seen) => {
      return allProven(serving, 2)(seen) && seen.instances.length === 2;
    });
    expect(state.serving).toBe(serving.id);
    expect(eventsOf(releaseIn(state, serving.id))).toEqual(["created", "started", "proven", "serving"]);
    const over = state.releases.filter(({ id }) => id !== serving.id);
    expect(
      over.map((release) => eventsOf(release).at(-1)).every((event) => event === "removed" || event === "abandoned"),
    ).toBe(true);
    const wanted = [state.gateway?.pid, ...state.instances.map(({ pid }) => pid)];
    expect(platform.processes.map(({ pid }) => pid).sort()).toEqual(wanted.sort());
    await client.clearTarget(service);
    await client.removeRelease(service, serving.id);
    await client.releaseClaim(service, owner);
    expect(platform.processes).toEqual([]);
    await until("the supervisor to end and to leave nothing", () => !existsSync(platform.directory));
  });
});
