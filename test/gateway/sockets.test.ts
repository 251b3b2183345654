import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(() => bench.remove());

async function one(duration: number | null = 0) {
  const a = await bench.upstream({ name: "a", duration });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  return a;
}

const whole = [
  "execution_start",
  "execution_cached",
  "executing",
  "progress",
  "executed",
  "execution_success",
  "executing",
];

describe("a client's socket", () => {
  test("gets first a status with its id, then the answer to its features, then a prompt's messages in their order", async () => {
    await one();
    const client = await bench.socket("me", { features: { supports_preview_metadata: true } });
    await client.message("the features", ({ type }) => type === "feature_flags");
    expect(client.messages.map(({ type }) => type)).toEqual(["status", "feature_flags"]);
    expect(client.messages[0]?.data).toEqual({ status: { exec_info: { queue_remaining: 0 } }, sid: "me" });
    const id = await bench.prompt("me");
    await client.end(id);
    expect(client.about(id)).toEqual(whole);
    expect(client.of("status").at(-1)?.data).toEqual({ status: { exec_info: { queue_remaining: 0 } } });
  });

  test("gets an id where it names none, and works under /api", async () => {
    const a = await one();
    const client = await bench.socket(null, { path: "/api/ws" });
    const { data } = await client.message("the status", ({ type }) => type === "status");
    expect(data.sid).toMatch(/^[0-9a-f]{32}$/);
    expect(a.openClients).toEqual([data.sid]);
    const id = await bench.prompt(String(data.sid));
    await client.end(id);
  });

  test("is told where to fetch what a prompt drew", async () => {
    await one();
    const client = await bench.socket("me");
    const id = await bench.prompt("me");
    await client.end(id);
    const output = client.of("executed")[0]?.data.output as { images: Record<string, string>[] };
    const image = await bench.get(`/view?${new URLSearchParams(output.images[0])}`);
    expect(await image.text()).toBe(`a drew ComfyUI_00001_.png for ${id}`);
  });

  test("gets previews as they are", async () => {
    const a = await one();
    const client = await bench.socket("me");
    await eventually("the connection behind", () => a.openClients.includes("me"));
    a.sendPreview("me", Buffer.from([0, 0, 0, 1, 0xff, 0xd8]));
    await eventually("the preview", () => client.binary.length === 1);
    expect([...(client.binary[0] ?? [])]).toEqual([0, 0, 0, 1, 0xff, 0xd8]);
  });

  test("that is opened before any instance is there gets its status when one is", async () => {
    await bench.start();
    await bench.setTargets(null, []);
    const client = await bench.socket("me");
    const a = await bench.upstream({ name: "a" });
    await bench.setTargets("r1", [target(a, "r1/0")]);
    await client.message("the status", ({ type, data }) => type === "status" && data.sid === "me");
  });

  test("stands at the instance before a prompt of its client is sent there", async () => {
    const a = await bench.upstream({ name: "a" });
    let open = () => {};
    a.socketGate = new Promise((resolve) => {
      open = resolve;
    });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const client = await bench.socket("me");
    const submitted = bench.prompt("me");
    await eventually("the prompt to be under way", async () => (await bench.status()).instances[0]?.inFlight === 1);
    // Time enough for a prompt that would not wait.
    for (let index = 0; index < 10; index += 1) await bench.get("/system_stats");
    expect(a.accepted).toEqual([]);
    open();
    const id = await submitted;
    await client.end(id);
    expect(client.about(id)).toEqual(whole);
  });

  test("that comes after its prompt was sent still gets the prompt's messages", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    const b = await bench.upstream({ name: "b", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
    const id = await bench.prompt("me");
    const holder = a.accepted.includes(id) ? a : b;
    const client = await bench.socket("me");
    await client.message("the status", ({ type }) => type === "status");
    holder.finishOne();
    await client.end(id);
  });
});

describe("over a rotation a client", () => {
  test("keeps its socket, hears the end of what runs on the old instance, and the status of the new one only", async () => {
    const old = await one(null);
    const next = await bench.upstream({ name: "next" });
    const client = await bench.socket("me", { features: {} });
    const [first, second] = [await bench.prompt("me"), await bench.prompt("me")];
    await bench.setTargets("r2", [target(old, "r1/0", { state: "draining" }), target(next, "r2/0")]);
    await client.message(
      "the new instance's status",
      ({ type, data }) => type === "status" && "sid" in data && next.openClients.includes("me"),
    );
    await eventually(
      "the new instance's first status",
      () => client.of("status").filter(({ data }) => "sid" in data).length === 2,
    );
    const before = client.of("status").length;

    const third = await bench.prompt("me");
    await client.end(third);
    expect(next.accepted).toEqual([third]);
    old.finishOne();
    await client.end(first);
    expect(old.openClients).toEqual(["me"]);
    old.finishOne();
    await client.end(second);
    for (const id of [first, second, third]) expect(client.about(id)).toEqual(whole);
    // The old instance reported its queue at least twice more; what came is of the new one, which never had more than 1.
    const lengths = client
      .of("status")
      .slice(before)
      .map(({ data }) => (data.status as { exec_info: { queue_remaining: number } }).exec_info.queue_remaining);
    expect(lengths).toEqual([1, 1, 0]);
    await eventually("the old instance's connection to be closed", () => old.openClients.length === 0);
    expect(client.of("feature_flags")).toHaveLength(1);
  });

  test("with nothing on the old instance is disconnected from it at once", async () => {
    const old = await one();
    const next = await bench.upstream({ name: "next" });
    await bench.socket("me");
    await eventually("the connection", () => old.openClients.includes("me"));
    await bench.setTargets("r2", [target(old, "r1/0"), target(next, "r2/0")]);
    await eventually("the move", () => next.openClients.includes("me") && !old.openClients.includes("me"));
  });

  test("and back has never two connections to one instance, though the first takes its time to close", async () => {
    const a = await one();
    const b = await bench.upstream({ name: "b" });
    const client = await bench.socket("me");
    await eventually("the connection", () => a.openClients.includes("me"));
    const resume = a.pauseSocket("me");
    const both = [target(a, "r1/0"), target(b, "r2/0")];
    await bench.setTargets("r2", both);
    await eventually("the move", () => b.openClients.includes("me"));
    await bench.setTargets("r1", both);
    const submitted = bench.prompt("me");
    await eventually("the prompt to be under way", async () => (await bench.status()).instances[0]?.inFlight === 1);
    resume();
    const id = await submitted;
    await client.end(id);
    expect(client.about(id)).toEqual(whole);
    expect(a.doubledSockets).toBe(0);
  });

  test("does not hear of other clients' prompts on an instance that is not its own", async () => {
    const old = await one(null);
    const next = await bench.upstream({ name: "next" });
    const client = await bench.socket("me");
    const id = await bench.prompt("me");
    await bench.setTargets("r2", [target(old, "r1/0", { state: "draining" }), target(next, "r2/0")]);
    await eventually("the move", () => next.openClients.includes("me"));
    // As ComfyUI does to everybody for a prompt without a client.
    old.send("me", "progress_state", { prompt_id: "somebody's", nodes: {} });
    old.send("me", "progress_state", { prompt_id: id, nodes: {} });
    await client.message("its own progress", ({ type, data }) => type === "progress_state" && data.prompt_id === id);
    expect(client.about("somebody's")).toEqual([]);
  });
});

describe("two sockets of one client", () => {
  test("have one connection to the instance; the newer one gets the messages, and the older one when that closes", async () => {
    const a = await one();
    const first = await bench.socket("me", { features: { a: 1 } });
    await first.message("the features", ({ type }) => type === "feature_flags");
    const second = await bench.socket("me", { features: { a: 1 } });
    await second.message("its status", ({ type, data }) => type === "status" && data.sid === "me");
    await second.message("the features", ({ type }) => type === "feature_flags");
    const heardBySecond = await bench.prompt("me");
    await second.end(heardBySecond);
    expect(first.about(heardBySecond)).toEqual([]);
    first.socket.close();
    await first.closed;
    const stillHeard = await bench.prompt("me");
    await second.end(stillHeard);
    const third = await bench.socket("me");
    await third.message("its status", ({ type }) => type === "status");
    third.socket.close();
    await third.closed;
    const heardAgain = await bench.prompt("me");
    await second.end(heardAgain);
    expect(a.doubledSockets).toBe(0);
  });

  test("one after the other, in the middle of a prompt, lose nothing of what comes after", async () => {
    const a = await one(null);
    const first = await bench.socket("me");
    await first.message("its status", ({ type }) => type === "status");
    const id = await bench.prompt("me");
    first.socket.terminate();
    await first.closed;
    const second = await bench.socket("me");
    await second.message("its status", ({ type, data }) => type === "status" && data.sid === "me");
    a.finishOne();
    await second.end(id);
    expect(second.about(id)).toEqual(whole.slice(2));
    expect(a.doubledSockets).toBe(0);
  });

  test("with other features are connected anew, one connection at a time", async () => {
    const a = await one();
    const first = await bench.socket("me", { features: { a: 1 } });
    await first.message("the features", ({ type }) => type === "feature_flags");
    const second = await bench.socket("me", { features: { a: 2 } });
    await second.message("the features", ({ type }) => type === "feature_flags");
    const id = await bench.prompt("me");
    await second.end(id);
    expect(a.doubledSockets).toBe(0);
  });
});

describe("when an instance breaks", () => {
  test("a client hears that its prompts failed, and goes on with the next instance", async () => {
    const a = await one(null);
    const b = await bench.upstream({ name: "b" });
    const client = await bench.socket("me");
    const id = await bench.prompt("me");
    await a.kill();
    await bench.setTargets("r1", [target(b, "r1/1")]);
    await client.end(id);
    expect(client.of("execution_error")[0]?.data).toMatchObject({
      prompt_id: id,
      exception_message: expect.stringContaining("r1/0"),
      executed: [],
    });
    const next = await bench.prompt("me");
    await client.end(next);
    expect(client.about(next)).toEqual(whole);
  });

  test("a client goes with its prompt to another one, though the targets still name the first", async () => {
    const a = await one();
    const client = await bench.socket("me");
    await client.message("its status", ({ type }) => type === "status");
    await a.kill();
    const b = await bench.upstream({ name: "b" });
    await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
    const id = await bench.prompt("me");
    expect(b.accepted).toEqual([id]);
    await client.end(id);
    expect(client.about(id)).toEqual(whole);
    await eventually("the status of the other one", () => client.of("status").length > 2);
  });

  test("its successor is connected to, under the same id and port", async () => {
    const a = await one();
    const client = await bench.socket("me");
    await client.message("its status", ({ type }) => type === "status");
    await a.kill();
    await bench.setTargets("r1", []);
    const again = await bench.upstream({ name: "again", port: a.port });
    await bench.setTargets("r1", [target(again, "r1/0", { epoch: 2 })]);
    const id = await bench.prompt("me");
    await client.end(id);
    expect(client.socket.readyState).toBe(client.socket.OPEN);
  });
});
