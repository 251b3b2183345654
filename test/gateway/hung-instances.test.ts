import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, GatewayBench, target } from "../support/gateway-bench";
import type { Upstream } from "../support/gateway-upstream";

let bench: GatewayBench;
let a: Upstream;
let wake: () => void;

beforeEach(async () => {
  bench = await GatewayBench.create({}, { holdTimeout: 1_000, timeouts: { socket: 200, answer: 200, clarify: 600 } });
  a = await bench.upstream({ name: "a" });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
});
afterEach(() => bench.remove());

/** The instance answers nothing on these paths until it is woken. */
function hang(...paths: readonly string[]): void {
  const gate = new Promise<void>((resolve) => {
    wake = resolve;
  });
  for (const path of paths) a.gates.set(path, gate);
}

async function withAnother(): Promise<Upstream> {
  const b = await bench.upstream({ name: "b" });
  await bench.setTargets("r1", [target(a, "r1/0"), target(b, "r1/1")]);
  return b;
}

async function submit(id: string): Promise<Response> {
  return bench.post("/prompt", {
    prompt: { "1": { class_type: "SaveImage", inputs: {} } },
    prompt_id: id,
    client_id: "me",
  });
}

describe("a client's prompt when its instance hangs", () => {
  test("goes to another one when the client's messages cannot be had from the first", async () => {
    const client = await bench.socket("me");
    await bench.result(await bench.prompt("me"));
    a.socketGate = new Promise((resolve) => {
      wake = resolve;
    });
    a.cutSocket("me");
    const b = await withAnother();
    await eventually("the gateway to notice", () => !a.openClients.includes("me"));
    expect((await submit("p")).status).toBe(200);
    expect([a.accepted.includes("p"), b.accepted]).toEqual([false, ["p"]]);
    await client.end("p");
    wake();
  });

  test("is refused with the reason, and not sent, when there is no other one", async () => {
    await bench.socket("me");
    a.socketGate = new Promise((resolve) => {
      wake = resolve;
    });
    a.cutSocket("me");
    const response = await submit("p");
    expect(response.status).toBe(503);
    expect(await response.text()).toContain("no instance of release r1 could be reached");
    expect(a.accepted).toEqual([]);
    wake();
  });

  test("counts as accepted when only the answer is missing, and runs once", async () => {
    const b = await withAnother();
    a.cutNextPrompt = "silent";
    b.cutNextPrompt = "silent";
    const response = await submit("p");
    expect(await response.json()).toEqual({ prompt_id: "p", number: 0, node_errors: {} });
    await bench.result("p");
    expect([...a.accepted, ...b.accepted]).toEqual(["p"]);
  });

  test("goes to another one when the first says that it does not have it", async () => {
    hang("/prompt");
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const sent = submit("p");
    await eventually("it to be sent", () => a.requests.includes("POST /prompt"));
    const b = await withAnother();
    expect((await sent).status).toBe(200);
    expect(b.accepted).toEqual(["p"]);
    expect(bench.log.join("\n")).toContain("it does not have the prompt");
  });

  test("is answered with 504 when nobody can say whether it runs, and its result is there once it has", async () => {
    hang("*");
    const response = await submit("p");
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({
      error: { type: "prompt_state_unclear", message: expect.stringContaining("prompt p") },
    });
    a.gates.clear();
    wake();
    expect((await bench.result("p")).status.status_str).toBe("success");
    expect(a.accepted).toEqual(["p"]);
    await bench.setTargets("r1", [target(a, "r1/0", { state: "draining" })]);
    await bench.drained("r1/0");
  });

  test("is reported as failed when it turns out never to have arrived", async () => {
    const client = await bench.socket("me");
    hang("*");
    a.cutNextPrompt = "before";
    expect((await submit("p")).status).toBe(504);
    a.gates.clear();
    wake();
    const { status } = await bench.result("p");
    expect(status.messages.at(-1)?.[1]).toMatchObject({ exception_type: "InstanceLost" });
    await client.end("p");
    await bench.setTargets("r1", [target(a, "r1/0", { state: "draining" })]);
    await bench.drained("r1/0");
  });
});

describe("a result that its instance fails to give", () => {
  test("does not hold up those after it, nor a drain, and its client is told", async () => {
    a.unreadable.add("p");
    expect((await submit("p")).status).toBe(200);
    const next = await bench.prompt("you");
    await bench.result(next);
    await bench.setTargets("r1", [target(a, "r1/0", { state: "draining" })]);
    await bench.drained("r1/0");
    const { status } = await bench.result("p");
    expect(JSON.stringify(status)).toContain("/history/p with 500");
    await bench.setTargets(null, []);
    await a.kill();
    expect(await (await bench.image(await bench.result(next))).text()).toContain(next);
  });
});
