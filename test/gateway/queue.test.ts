import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, GatewayBench, target } from "../support/gateway-bench";
import type { Upstream } from "../support/gateway-upstream";

let bench: GatewayBench;
let a: Upstream;
let b: Upstream;

beforeEach(async () => {
  bench = await GatewayBench.create();
  a = await bench.upstream({ name: "a", duration: null });
  b = await bench.upstream({ name: "b", duration: null });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
});
afterEach(() => bench.remove());

type Item = [number, string];
async function queue(): Promise<{ running: string[]; pending: string[] }> {
  const { queue_running, queue_pending } = (await bench.json("/queue")) as {
    queue_running: Item[];
    queue_pending: Item[];
  };
  return { running: queue_running.map(([, id]) => id), pending: queue_pending.map(([, id]) => id) };
}

async function cookie(): Promise<{ cookie: string }> {
  const header = (await bench.get("/")).headers.getSetCookie()[0] ?? "";
  return { cookie: header.split(";")[0] ?? "" };
}

test("the queue and its length are those of all instances together", async () => {
  const ids = [];
  for (const client of ["one", "two", "one", "two", "two"]) ids.push(await bench.prompt(client));
  const { running, pending } = await queue();
  expect(running.toSorted()).toEqual([ids[0], ids[1]].toSorted());
  expect(pending.toSorted()).toEqual([ids[2], ids[3], ids[4]].toSorted());
  expect(await bench.json("/api/prompt")).toEqual({ exec_info: { queue_remaining: 5 } });
});

test("a candidate's queue is not shown, a draining instance's is", async () => {
  const held = await bench.prompt("one");
  const candidate = await bench.upstream({ name: "candidate", duration: null });
  const body = JSON.stringify({ prompt: { "1": { class_type: "X", inputs: {} } } });
  await fetch(`${candidate.url}/prompt`, { method: "POST", body });
  await bench.setTargets("r1", [
    target(a, "r1/0", { state: "draining" }),
    target(b, "r1/1", { state: "draining" }),
    target(candidate, "r2/0"),
  ]);
  expect(await queue()).toEqual({ running: [held], pending: [] });
  expect(await bench.json("/prompt")).toEqual({ exec_info: { queue_remaining: 1 } });
});

describe("a prompt is removed from the queue", () => {
  test("where it waits, and its client hears no error of it", async () => {
    const client = await bench.socket("one");
    const [running, waiting] = [await bench.prompt("one"), await bench.prompt("one")];
    await bench.prompt("two");
    expect((await bench.post("/queue", { delete: [waiting] })).status).toBe(200);
    expect((await queue()).pending).toEqual([]);
    const holder = a.accepted.includes(running) ? a : b;
    holder.finishOne();
    await client.end(running);
    await bench.setTargets(null, [target(holder, holder === a ? "r1/0" : "r1/1", { state: "draining" })]);
    await bench.drained(holder === a ? "r1/0" : "r1/1");
    expect(await bench.json(`/history/${waiting}`)).toEqual({});
    expect(client.of("execution_error")).toEqual([]);
  });

  test("by its own client's clearing, which leaves the others' alone", async () => {
    const mine = await cookie();
    const body = { prompt: { "1": { class_type: "X", inputs: {} } } };
    const submit = async () =>
      ((await (await bench.post("/prompt", body, mine)).json()) as { prompt_id: string }).prompt_id;
    const ids = [await submit(), await submit()];
    const others = [];
    for (const client of ["one", "two", "one", "two", "three"]) others.push(await bench.prompt(client));
    await bench.post("/queue", { clear: true }, mine);
    const { running, pending } = await queue();
    expect([...running, ...pending].toSorted()).toEqual([ids[0], ...others].toSorted());
  });

  test("which leaves what runs, and its result, alone", async () => {
    const id = await bench.prompt("one");
    for (const body of [{ clear: true }, { delete: [id] }]) await bench.post("/queue", body);
    await bench.post("/history", { delete: [id] });
    const [holder, name] = a.accepted.includes(id) ? [a, "r1/0"] : [b, "r1/1"];
    holder.finishOne();
    await bench.setTargets(null, [target(holder, name, { state: "draining" })]);
    await bench.drained(name);
    await bench.setTargets(null, []);
    await holder.kill();
    expect(await (await bench.image(await bench.result(id))).text()).toContain(id);
  });

  test("with all others when the client is not known", async () => {
    for (const client of ["one", "two", "one", "two"]) await bench.prompt(client);
    await bench.post("/queue", { clear: true });
    expect((await queue()).pending).toEqual([]);
  });
});

describe("an interrupt", () => {
  test("with a prompt's id reaches the instance that runs it, and no other", async () => {
    const [first, second] = [await bench.prompt("one"), await bench.prompt("two")];
    await bench.post("/interrupt", { prompt_id: first });
    const { status } = await bench.result(first);
    expect(status).toMatchObject({ status_str: "error" });
    expect(status.messages.at(-1)?.[0]).toBe("execution_interrupted");
    expect((await queue()).running).toEqual([second]);
    expect([...a.interrupts, ...b.interrupts]).toEqual([first]);
  });

  test("without one ends what its own client runs", async () => {
    const mine = await cookie();
    const response = await bench.post(
      "/prompt",
      { prompt: { "1": { class_type: "X", inputs: {} } }, client_id: "me" },
      mine,
    );
    const { prompt_id: id } = (await response.json()) as { prompt_id: string };
    const [other] = [await bench.prompt("other"), await bench.prompt("another")];
    await bench.post("/interrupt", {}, mine);
    await bench.result(id);
    await eventually("the rest to run on", async () => (await queue()).running.includes(other));
  });

  test("of an unknown client ends whatever runs", async () => {
    const ids = [await bench.prompt("one"), await bench.prompt("two")];
    await bench.get("/interrupt", { method: "POST" });
    for (const id of ids) expect((await bench.result(id)).status.status_str).toBe("error");
  });
});

describe("the queue that autoscalers ask for", () => {
  const told = () => bench.json("/_gateway/queue");
  const measured = async () =>
    /^comfyui_gateway_queue\{.*$/m.exec(await (await bench.get("/metrics")).text())?.[0] ?? "nothing";

  test("has the prompts of the serving release that run and wait, from the moment on that they are accepted", async () => {
    expect(await told()).toEqual({ serving: "r1", prompts: { r1: 0 } });
    for (const client of ["one", "two", "one"]) await bench.prompt(client);
    expect(await told()).toEqual({ serving: "r1", prompts: { r1: 3 } });
    expect(await measured()).toBe('comfyui_gateway_queue{release="r1"} 3');
  });

  test("has nothing of instances that go, nor of a release that no longer serves", async () => {
    for (const client of ["one", "two"]) await bench.prompt(client);
    await bench.setTargets("r1", [target(a, "r1/0", { state: "draining" }), target(b, "r1/1")]);
    expect(await told()).toEqual({ serving: "r1", prompts: { r1: 1 } });
    const next = await bench.upstream({ name: "next", duration: null });
    await bench.setTargets("r2", [target(b, "r1/1", { state: "draining" }), target(next, "r2/0")]);
    expect(await told()).toEqual({ serving: "r2", prompts: { r2: 0 } });
    expect(await measured()).toBe('comfyui_gateway_queue{release="r2"} 0');
  });

  test("has requests that are held because no instance is ready", async () => {
    await bench.setTargets("r1", [target(a, "r1/0", { state: "unready" }), target(b, "r1/1", { state: "unready" })]);
    const held = bench.prompt("one");
    await eventually(
      "the held prompt is counted",
      async () => JSON.stringify(await told()) === '{"serving":"r1","prompts":{"r1":1}}',
    );
    await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1", { state: "unready" })]);
    await held;
    expect(await told()).toEqual({ serving: "r1", prompts: { r1: 1 } });
  });

  test("is nothing while nothing serves", async () => {
    await bench.setTargets(null, [target(a, "r1/0")]);
    expect(await told()).toEqual({ serving: null, prompts: {} });
    expect(await measured()).toBe("nothing");
  });
});
