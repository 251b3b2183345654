import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finished, idle, request, running, submit } from "../support/comfyui-client";
import {
  acceptedPrompt,
  answers,
  historyEntry,
  history as historyForm,
  logForms,
  refusedPrompt,
} from "../support/comfyui-contract";
import { type StandIn, startStandIn } from "../support/stand-in";
import { workingPlugin } from "../support/stand-in-plugins";

let server: StandIn;

beforeAll(async () => {
  server = await startStandIn({ plugins: { working: workingPlugin } });
});
afterAll(() => server.stop());

const get = (path: string) => request(server.url, "GET", path);
const post = (path: string, body?: unknown) => request(server.url, "POST", path, body);
const addOne = (value: unknown) => ({ class_type: "TestAddOne", inputs: { value } });
const slow = (seconds: number, mode = "progress") => ({ class_type: "TestSlow", inputs: { seconds, mode } });
const queue = async () => answers["/queue"].parse((await get("/queue")).json);
const ids = (items: readonly (readonly unknown[])[]) => items.map((item) => item[1]);

describe("a prompt", () => {
  it("is accepted with its number and found in the history with its result", async () => {
    const posted = { prompt: { "1": addOne(41) }, client_id: "me", extra_data: { extra_pnginfo: { workflow: {} } } };
    const accepted = acceptedPrompt.parse((await post("/prompt", posted)).json);
    const entry = historyEntry.parse(await finished(server.url, accepted.prompt_id));

    expect(accepted.node_errors).toEqual({});
    expect(entry.prompt).toEqual([
      accepted.number,
      accepted.prompt_id,
      posted.prompt,
      { extra_pnginfo: { workflow: {} }, client_id: "me" },
      ["1"],
    ]);
    expect(entry.outputs).toEqual({ "1": { value: [42] } });
    expect(entry.status).toMatchObject({ status_str: "success", completed: true });
    expect(entry.status.messages.map(([name]) => name)).toEqual([
      "execution_start",
      "execution_cached",
      "execution_success",
    ]);
    expect(entry.meta).toEqual({ "1": { node_id: "1", display_node: "1", parent_node: null, real_node_id: "1" } });
    expect(server.readLog()).toMatch(logForms.promptCame);
    expect(server.readLog()).toMatch(logForms.promptRan);
  });

  it("may choose its own id", async () => {
    expect(
      acceptedPrompt.parse((await post("/prompt", { prompt: { "1": addOne(2) }, prompt_id: "mine" })).json).prompt_id,
    ).toBe("mine");
    expect((await finished(server.url, "mine")).outputs).toEqual({ "1": { value: [3] } });
  });

  it("that fails in a node is in the history with the traceback and what the node was given", async () => {
    const prompt = { "1": { class_type: "TestFail", inputs: { message: "as asked" } } };
    const entry = historyEntry.parse(await finished(server.url, await submit(server.url, prompt)));

    expect(entry.status).toMatchObject({ status_str: "error", completed: false });
    const [name, data] = entry.status.messages.at(-1) ?? [];
    expect(name).toBe("execution_error");
    expect(data).toMatchObject({
      node_id: "1",
      node_type: "TestFail",
      executed: [],
      exception_message: "as asked\n",
      exception_type: "RuntimeError",
      traceback: expect.arrayContaining([
        expect.stringMatching(/custom_nodes\/working\/__init__\.py", line \d+, in run\n/),
      ]),
      current_inputs: { message: ["as asked"] },
      current_outputs: ["1"],
    });
    expect(server.readLog()).toMatch(logForms.nodeFailed);
  });

  it("of a class that needs a model cannot be run", async () => {
    const prompt = {
      "1": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
      "2": { class_type: "PreviewImage", inputs: { images: ["3", 0] } },
      "3": { class_type: "VAEDecode", inputs: { samples: ["1", 0], vae: ["1", 0] } },
    };
    const refused = await post("/prompt", { prompt });
    expect(refused.status).toBe(400);
    expect(refused.text).toContain("received_type(LATENT) mismatch input_type(VAE)");
  });

  const common = (type: string) => ({
    error: { type: "prompt_outputs_failed_validation" },
    node_errors: { "1": { errors: [{ type }] } },
  });
  it.each([
    [
      "has no output node",
      { prompt: { "1": { class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 1, color: 0 } } } },
      { error: { type: "prompt_no_outputs", message: "Prompt has no outputs" } },
    ],
    ["is empty", { prompt: {} }, { error: { type: "prompt_no_outputs" } }],
    ["is not there", { client_id: "x" }, { error: { type: "no_prompt", message: "No prompt provided" } }],
    [
      "names an unknown class",
      { prompt: { "1": { class_type: "NoSuchClass", inputs: {} } } },
      {
        error: {
          type: "invalid_prompt",
          message: "Cannot execute because node NoSuchClass does not exist.",
          details: "Node ID '#1'",
        },
      },
    ],
    ["has a node without class", { prompt: { "1": { inputs: {} } } }, { error: { type: "invalid_prompt" } }],
    ["lacks an input", { prompt: { "1": { class_type: "TestAddOne", inputs: {} } } }, common("required_input_missing")],
    ["has too big a value", { prompt: { "1": addOne(100_000) } }, common("value_bigger_than_max")],
    ["has too small a value", { prompt: { "1": addOne(-5) } }, common("value_smaller_than_min")],
    ["has a value of the wrong type", { prompt: { "1": addOne("abc") } }, common("invalid_input_type")],
    ["has a value that is not in the list", { prompt: { "1": slow(1, "none") } }, common("value_not_in_list")],
    ["has a link that leads nowhere", { prompt: { "1": addOne(["9", 0]) } }, common("exception_during_validation")],
    ["has a malformed link", { prompt: { "1": addOne(["9"]) } }, common("bad_linked_input")],
    [
      "loads a picture that is not there",
      {
        prompt: {
          "1": { class_type: "LoadImage", inputs: { image: "none.png" } },
          "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
        },
      },
      common("custom_validation_failed"),
    ],
  ] as const)("that %s is refused with the reason", async (_what, body, expected) => {
    const answer = await post("/prompt", body);

    expect(answer.status).toBe(400);
    expect(refusedPrompt.parse(answer.json)).toMatchObject(expected);
  });

  it("that is refused is logged with its reason", async () => {
    await post("/prompt", { prompt: {} });

    expect(server.readLog()).toMatch(logForms.promptRefused);
  });

  it("of which only one output is good runs that one and names the other's error", async () => {
    const accepted = acceptedPrompt.parse(
      (await post("/prompt", { prompt: { "1": addOne(1), "2": addOne(-5) } })).json,
    );
    const entry = await finished(server.url, accepted.prompt_id);

    expect(accepted.node_errors).toMatchObject({
      "2": { errors: [{ type: "value_smaller_than_min" }], dependent_outputs: ["2"] },
    });
    expect(entry.outputs).toEqual({ "1": { value: [2] } });
  });
});

describe("the queue", () => {
  it("shows what runs and what waits, in the order in which it will run", async () => {
    const first = await submit(server.url, { "1": slow(60) });
    await running(server.url, first);
    const second = await submit(server.url, { "1": addOne(5) });
    const third = await submit(server.url, { "1": addOne(6) });
    const front = acceptedPrompt.parse((await post("/prompt", { prompt: { "1": addOne(7) }, front: true })).json);

    const { queue_running, queue_pending } = await queue();
    expect(ids(queue_running)).toEqual([first]);
    expect(ids(queue_pending)).toEqual([front.prompt_id, second, third]);
    expect(front.number).toBeLessThan(0);
    expect((await get("/prompt")).json).toEqual({ exec_info: { queue_remaining: 4 } });
    expect((await get(`/history/${first}`)).json).toEqual({});

    expect((await post("/queue", { delete: [second, first] })).status).toBe(200);
    expect(ids((await queue()).queue_running)).toEqual([first]);
    expect(ids((await queue()).queue_pending)).toEqual([front.prompt_id, third]);

    expect((await post("/queue", { clear: true })).status).toBe(200);
    expect(ids((await queue()).queue_running)).toEqual([first]);
    expect((await queue()).queue_pending).toEqual([]);

    await post("/interrupt");
    await idle(server.url);
    expect((await get(`/history/${second}`)).json).toEqual({});
  });

  it("takes 200 prompts from 20 clients at once and runs them one at a time, in order", async () => {
    const blocker = await submit(server.url, { "1": slow(60) });
    await running(server.url, blocker);
    const submitted = await Promise.all(
      Array.from({ length: 20 }, async (_, client) => {
        const mine: string[] = [];
        for (let count = 0; count < 10; count++) {
          mine.push(await submit(server.url, { "1": addOne(client * 10 + count) }, { client_id: `client-${client}` }));
        }
        return mine;
      }),
    );

    const { queue_running, queue_pending } = await queue();
    expect(ids(queue_running)).toEqual([blocker]);
    expect(new Set(ids(queue_pending))).toEqual(new Set(submitted.flat()));
    expect(queue_pending.map(([number]) => number)).toEqual(
      queue_pending.map(([number]) => number).toSorted((a, b) => a - b),
    );
    await post("/interrupt");
    await idle(server.url);
    const history = historyForm.parse((await get("/history")).json);
    for (const id of submitted.flat()) expect(history[id]?.status.status_str).toBe("success");
  });

  it("leaves the server answering while a node computes", async () => {
    const promptId = await submit(server.url, { "1": slow(60) });
    await running(server.url, promptId);

    for (let asked = 0; asked < 20; asked++) expect((await get("/system_stats")).status).toBe(200);
    expect(ids((await queue()).queue_running)).toEqual([promptId]);
    await post("/interrupt");
    await finished(server.url, promptId);
  });
});

describe("an interrupt", () => {
  const interrupted = async (promptId: string) => historyEntry.parse(await finished(server.url, promptId)).status;

  it("ends the running prompt at its next progress report, as an error", async () => {
    const promptId = await submit(server.url, { "1": slow(60) });
    await running(server.url, promptId);

    expect((await post("/interrupt")).status).toBe(200);
    const status = await interrupted(promptId);
    expect(status).toMatchObject({ status_str: "error", completed: false });
    expect(status.messages.at(-1)).toMatchObject([
      "execution_interrupted",
      { prompt_id: promptId, node_id: "1", node_type: "TestSlow", executed: [] },
    ]);
    expect(server.readLog()).toMatch(logForms.interrupted);
  });

  it("with a prompt's id ends only that prompt", async () => {
    const promptId = await submit(server.url, { "1": slow(60) });
    await running(server.url, promptId);

    expect((await post("/interrupt", { prompt_id: "other" })).status).toBe(200);
    expect(ids((await queue()).queue_running)).toEqual([promptId]);
    expect((await post("/interrupt", { prompt_id: promptId })).status).toBe(200);
    expect(await interrupted(promptId)).toMatchObject({ status_str: "error" });
  });

  it("does not end a node that never asks, and takes effect before the next one", async () => {
    const wait = (file: string) => ({ class_type: "TestWait", inputs: { file: join(server.base, file) } });
    const alone = await submit(server.url, { "1": wait("first") });
    await running(server.url, alone);
    await post("/interrupt");
    writeFileSync(join(server.base, "first"), "");
    expect(await interrupted(alone)).toMatchObject({ status_str: "success" });

    const followed = await submit(server.url, { "1": wait("second"), "2": addOne(["1", 0]) });
    await running(server.url, followed);
    await post("/interrupt");
    writeFileSync(join(server.base, "second"), "");
    expect((await interrupted(followed)).messages.at(-1)).toMatchObject([
      "execution_interrupted",
      { node_id: "2", executed: ["1"] },
    ]);
  });

  it("of an idle server has no effect on the next prompt", async () => {
    expect((await post("/interrupt")).status).toBe(200);

    expect(await interrupted(await submit(server.url, { "1": slow(0.1) }))).toMatchObject({ status_str: "success" });
  });
});

describe("the history", () => {
  it("is oldest first and can be limited, cut and cleared", async () => {
    await post("/history", { clear: true });
    const prompts: string[] = [];
    for (const value of [1, 2, 3]) {
      const promptId = await submit(server.url, { "1": addOne(value) });
      await finished(server.url, promptId);
      prompts.push(promptId);
    }

    expect(Object.keys(historyForm.parse((await get("/history")).json))).toEqual(prompts);
    expect(Object.keys((await get("/history?max_items=2")).json as object)).toEqual(prompts.slice(1));
    expect(Object.keys((await get("/history?max_items=1&offset=1")).json as object)).toEqual([prompts[1]]);
    expect((await post("/history", { delete: [prompts[0]] })).status).toBe(200);
    expect(Object.keys((await get("/history")).json as object)).toEqual(prompts.slice(1));
    expect((await post("/history", { clear: true })).status).toBe(200);
    expect((await get("/history")).json).toEqual({});
  });
});

describe("what nodes returned", () => {
  const cachedIn = async (prompt: unknown) => {
    const { status } = historyEntry.parse(await finished(server.url, await submit(server.url, prompt)));
    const message = status.messages.find(([name]) => name === "execution_cached");
    return message?.[0] === "execution_cached" ? message[1].nodes : undefined;
  };

  it("is kept for the next prompt, and only for that", async () => {
    await cachedIn({ "1": addOne(101), "2": addOne(["1", 0]) });
    expect(await cachedIn({ a: addOne(101), b: addOne(["a", 0]) })).toEqual(["a", "b"]);
    expect(await cachedIn({ "1": addOne(102), "2": addOne(["1", 0]) })).toEqual([]);
    expect(await cachedIn({ "1": addOne(101), "2": addOne(["1", 0]) })).toEqual([]);
  });

  it("is not kept for a class that says it changes each time, nor for what depends on it", async () => {
    const prompt = { "1": slow(0.1), "2": addOne(["1", 0]), "3": addOne(150) };
    await cachedIn(prompt);

    expect(await cachedIn(prompt)).toEqual(["3"]);
  });

  it("is forgotten when memory is freed", async () => {
    await cachedIn({ "1": addOne(201) });
    expect((await post("/free", { unload_models: true, free_memory: true })).status).toBe(200);

    expect(await cachedIn({ "1": addOne(201) })).toEqual([]);
  });

  it("is in the history of a prompt that found it in the cache", async () => {
    await finished(server.url, await submit(server.url, { "1": addOne(301) }));

    expect((await finished(server.url, await submit(server.url, { "1": addOne(301) }))).outputs).toEqual({
      "1": { value: [302] },
    });
  });
});

describe("a workflow with parts that no output needs", () => {
  it("runs, whatever those parts are", async () => {
    const prompt = {
      "1": addOne(1),
      unused: { class_type: "EmptyImage", inputs: {} },
      loose: { class_type: "ImageInvert", inputs: { image: ["nowhere", 0] } },
      left: { class_type: "ImageInvert", inputs: { image: ["right", 0] } },
      right: { class_type: "ImageInvert", inputs: { image: ["left", 0] } },
    };

    expect((await finished(server.url, await submit(server.url, prompt))).outputs).toEqual({ "1": { value: [2] } });
  });

  it("is refused when an output needs itself", async () => {
    const circle = { "1": addOne(["2", 0]), "2": addOne(["1", 0]) };

    expect((await post("/prompt", { prompt: circle })).status).toBe(400);
    expect((await get("/prompt")).status).toBe(200);
  });
});
