import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { deployer, eventually, GatewayBench, target } from "../support/gateway-bench";

let bench: GatewayBench;

beforeEach(async () => {
  bench = await GatewayBench.create();
});
afterEach(() => bench.remove());

describe("an instance that vanishes", () => {
  test("leaves an error for its unfinished prompts, and what had ended", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const done = await bench.prompt("me");
    a.finishOne();
    await bench.result(done);
    await eventually("the result to be kept", async () =>
      /outstanding_prompts 0/.test(await (await bench.get("/metrics", { headers: deployer })).text()),
    );
    const [running, waiting] = [await bench.prompt("me"), await bench.prompt("me")];
    await a.kill();
    await bench.setTargets("r1", []);
    for (const id of [running, waiting]) {
      const { status } = await bench.result(id);
      expect(status.status_str).toBe("error");
      expect(status.messages[0]).toMatchObject(["execution_error", { prompt_id: id, exception_type: "InstanceLost" }]);
    }
    expect(await (await bench.image(await bench.result(done))).text()).toContain(done);
    expect(bench.log.join("\n")).toContain("instance r1/0 was lost with 2 prompts");
  });

  test("and comes back as a new process leaves an error for what it had queued", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me");
    const { port } = a;
    await a.kill();
    const again = await bench.upstream({ name: "again", port });
    await bench.setTargets("r1", [target(again, "r1/0", { epoch: 2 })]);
    expect((await bench.result(id)).status.status_str).toBe("error");
    const next = await bench.prompt("me");
    expect((await bench.result(next)).status.status_str).toBe("success");
  });

  test("leaves no error for a prompt that was sent again under its id", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const body = { prompt: { "1": { class_type: "SaveImage", inputs: {} } }, prompt_id: "mine" };
    expect((await bench.post("/prompt", body)).status).toBe(200);
    await a.kill();
    const b = await bench.upstream({ name: "b", duration: null });
    await bench.setTargets("r1", [target(b, "r1/1")]);
    expect((await bench.result("mine")).status.status_str).toBe("error");

    expect((await bench.post("/prompt", body)).status).toBe(200);
    expect(await (await bench.get("/history/mine")).json()).toEqual({});
    b.finishOne();
    expect((await bench.result("mine")).status.status_str).toBe("success");
  });

  test("unnoticed, with another process answering in its place, leaves an error too", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const client = await bench.socket("me");
    const id = await bench.prompt("me");
    await a.kill();
    await bench.upstream({ name: "again", port: a.port });
    await client.end(id);
    expect(client.of("execution_error")).toHaveLength(1);
    expect((await bench.result(id)).status.status_str).toBe("error");
  });

  test("while the gateway is down is noticed at its next start", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me");
    await bench.stop();
    await a.kill();
    await bench.setTargets("r1", []);
    await bench.start();
    expect((await bench.result(id)).status.status_str).toBe("error");
  });

  test("from the targets only, still working, has its prompts finished", async () => {
    const a = await bench.upstream({ name: "a", duration: null });
    await bench.start();
    await bench.setTargets("r1", [target(a, "r1/0")]);
    const id = await bench.prompt("me");
    await bench.setTargets("r1", []);
    a.finishOne();
    expect((await bench.result(id)).status.status_str).toBe("success");
  });
});

test("a prompt that runs over a restart of the gateway has its result collected", async () => {
  const a = await bench.upstream({ name: "a", duration: null });
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0")]);
  const id = await bench.prompt("me");
  await bench.stop();
  a.finishOne();
  await bench.start();
  await bench.setTargets("r1", [target(a, "r1/0", { state: "draining" })]);
  await bench.drained("r1/0");
  await bench.setTargets("r1", []);
  await a.kill();
  expect(await (await bench.image(await bench.result(id))).text()).toContain(id);
});
