import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { GatewayStatus } from "../../runtime/gateway";
import { waitFor } from "../../runtime/waiting";
import { deployer, GatewayBench, type HistoryRecord, TestClient, target } from "../support/gateway-bench";
import { bundleGateway, GatewayProgram } from "../support/gateway-program";
import type { Upstream } from "../support/gateway-upstream";

let bench: GatewayBench;
let program: GatewayProgram | null = null;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(async () => {
  await program?.kill();
  program = null;
  await bench.remove();
});

/** Numbers in [0, 1) that are the same for the same seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Asks until the gateway is there to answer. */
async function persistently(url: string, path: string): Promise<Response> {
  return waitFor({
    what: `an answer to GET ${path}`,
    deadline: 30_000,
    interval: 20,
    look: async () => {
      try {
        const response = await fetch(`${url}${path}`);
        return new Response(await response.arrayBuffer(), response);
      } catch {
        return undefined;
      }
    },
  });
}

async function historyOf(url: string, id: string): Promise<HistoryRecord | undefined> {
  return ((await (await persistently(url, `/history/${id}`)).json()) as Record<string, HistoryRecord>)[id];
}

const isLost = (record: HistoryRecord) => JSON.stringify(record.status).includes("InstanceLost");

/** A client that chooses its prompts' ids, and where no answer comes looks whether a prompt arrived before it sends it again. */
async function runPrompt(url: string, client: string, id: string): Promise<{ record: HistoryRecord; image: string }> {
  const body = JSON.stringify({
    prompt: { "1": { class_type: "SaveImage", inputs: {} } },
    prompt_id: id,
    client_id: client,
  });
  for (let sent = false; !sent; ) {
    try {
      const response = await fetch(`${url}/prompt`, { method: "POST", body });
      expect([response.status, await response.text()]).toEqual([200, expect.stringContaining(id)]);
      sent = true;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      const queue = await (await persistently(url, "/queue")).text();
      const record = await historyOf(url, id);
      sent = queue.includes(JSON.stringify(id)) || (record !== undefined && !isLost(record));
    }
  }
  const record = await waitFor({
    what: `the result of ${id}`,
    deadline: 30_000,
    interval: 20,
    look: () => historyOf(url, id),
  });
  const file = record.outputs["1"]?.images?.[0];
  return { record, image: await (await persistently(url, `/view?${new URLSearchParams(file)}`)).text() };
}

test.each([1, 2])(
  "a gateway that is killed again and again loses, repeats and cuts no prompt (seed %i)",
  async (seed) => {
    const random = randomNumbers(seed);
    const bundle = await bundleGateway(bench.folder);
    const releases = await Promise.all(
      ["r1", "r2"].map((release) =>
        Promise.all([0, 1].map((index) => bench.upstream({ name: `${release}/${index}`, duration: 25 }))),
      ),
    );
    const [first = [], second = []] = releases;
    const named = (list: readonly Upstream[], state: "ready" | "draining") =>
      list.map((upstream) => target(upstream, upstream.name, { state }));
    await bench.setTargets("r1", named(first, "ready"));
    const start = async (port: string) => {
      program = new GatewayProgram(bundle, ["--folder", bench.folder, "--port", port]);
      return program.listening();
    };
    const url = await start("0");
    const port = new URL(url).port;

    let stopped = false;
    const finished: { id: string; record: HistoryRecord; image: string }[] = [];
    const sockets = new Map<string, { client: TestClient; opened: number }>();
    const keepSocket = async (name: string) => {
      while (!stopped) {
        const client = new TestClient(new WebSocket(`${url.replace("http", "ws")}/ws?clientId=${name}`));
        client.socket.on("error", () => {});
        sockets.set(name, { client, opened: (sockets.get(name)?.opened ?? 0) + 1 });
        await client.closed;
        await delay(20);
      }
    };
    const worker = async (name: string) => {
      for (let count = 0; !stopped; count += 1) {
        const id = `${name}-${count}`;
        finished.push({ id, ...(await runPrompt(url, name, id)) });
      }
    };
    const names = ["one", "two", "three", "four"];
    const workers = Promise.all(names.map(worker));
    workers.catch(() => {});
    const keeping = names.slice(0, 2).map(keepSocket);

    const kills = 8;
    for (let kill = 0; kill < kills; kill += 1) {
      if (kill === 3) await bench.setTargets("r2", [...named(first, "draining"), ...named(second, "ready")]);
      await Promise.race([workers, delay(random() * 400)]);
      await program?.kill();
      await start(port);
    }
    const status = async () =>
      (await (await fetch(`${url}/_gateway/status`, { headers: deployer })).json()) as GatewayStatus;
    await waitFor({
      what: "the first release to have drained",
      deadline: 30_000,
      interval: 50,
      look: async () =>
        (await status()).instances.filter(({ state }) => state === "draining").every(({ drained }) => drained) ||
        undefined,
    });
    await bench.setTargets("r2", named(second, "ready"));
    await Promise.all(first.map((upstream) => upstream.kill()));
    const seen = finished.length;
    await Promise.race([
      workers,
      waitFor({ what: "work to go on", deadline: 30_000, look: () => finished.length > seen + 8 || undefined }),
    ]);

    // A socket that came back is the client's again, for a whole prompt.
    const { client, opened } = sockets.get("one") ?? { client: null, opened: 0 };
    expect(opened).toBeGreaterThan(kills / 2);
    await client?.message("its status", ({ type, data }) => type === "status" && data.sid === "one");
    await runPrompt(url, "one", "last");
    await client?.end("last");
    expect(client?.about("last")).toContain("execution_success");
    stopped = true;
    await workers;
    for (const { client } of sockets.values()) client.socket.close();
    await Promise.all(keeping);

    const executed = [...first, ...second].flatMap((upstream) => upstream.executed);
    expect(executed.toSorted()).toEqual([...finished.map(({ id }) => id), "last"].toSorted());
    for (const { id, record, image } of finished) {
      expect([id, record.status.status_str]).toEqual([id, "success"]);
      expect(image).toContain(`for ${id}`);
      const again = await historyOf(url, id);
      expect([id, again?.status.status_str, again?.outputs], JSON.stringify(again?.status)).toEqual([
        id,
        "success",
        record.outputs,
      ]);
      const file = again?.outputs["1"]?.images?.[0];
      expect(await (await persistently(url, `/view?${new URLSearchParams(file)}`)).text()).toBe(image);
    }
  },
);
