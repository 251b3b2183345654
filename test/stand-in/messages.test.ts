import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finished, idle, type Message, openSocket, request, type Socket, submit } from "../support/comfyui-client";
import { message as messageForm, orderOfMessages } from "../support/comfyui-contract";
import { type StandIn, startStandIn } from "../support/stand-in";
import { workingPlugin } from "../support/stand-in-plugins";

let server: StandIn;

beforeAll(async () => {
  server = await startStandIn({ plugins: { working: workingPlugin } });
});
afterAll(() => server.stop());

const addOne = (value: unknown) => ({ class_type: "TestAddOne", inputs: { value } });
const slow = (seconds: number) => ({ class_type: "TestSlow", inputs: { seconds, mode: "progress" } });
const types = (messages: readonly Message[]) => messages.map(({ type }) => type);
const isLast = ({ type, data }: Message) => type === "executing" && data.node === null;
const isIdleStatus = ({ type, data }: Message) =>
  type === "status" && JSON.stringify(data).includes('"queue_remaining":0') && !("sid" in data);

let clients = 0;
/** A client that has had its first message. */
async function client(): Promise<{ id: string; socket: Socket }> {
  const id = `client-${clients++}`;
  const socket = await openSocket(server.url, id);
  await socket.until("the first status", ({ data }) => data.sid === id);
  return { id, socket };
}

/** What a client hears of its prompt, from the first message after it was posted to the last. */
async function messagesOf(
  prompt: unknown,
  meanwhile?: (socket: Socket) => Promise<unknown>,
): Promise<readonly Message[]> {
  const { id, socket } = await client();
  const before = socket.messages.length;
  await submit(server.url, prompt, { client_id: id });
  await meanwhile?.(socket);
  await socket.until("the end of the prompt", isLast);
  const heard = socket.messages.slice(before);
  await socket.close();
  await idle(server.url);
  for (const message of heard) messageForm.parse(message);
  return heard;
}

const asText = (messages: readonly Message[]) => `${types(messages).join(" ")} `;

describe("a socket", () => {
  it("gets the state of the queue with its client's id first, and features only when it tells its own first", async () => {
    const { id, socket } = await client();
    expect(socket.messages).toEqual([
      { type: "status", data: { status: { exec_info: { queue_remaining: 0 } }, sid: id } },
    ]);
    socket.send({ type: "feature_flags", data: { supports_preview_metadata: true } });
    await socket.until("the server's features", ({ type }) => type === "feature_flags");
    expect(socket.messages[1]).toEqual({
      type: "feature_flags",
      data: { supports_preview_metadata: true, max_upload_size: 104_857_600 },
    });
    await socket.close();
  });

  it("without a client's id gets one", async () => {
    const socket = await openSocket(server.url);
    const { data } = await socket.until("the first status", ({ type }) => type === "status");

    expect(data.sid).toMatch(/^[0-9a-f]{32}$/);
    await socket.close();
  });

  it("is taken over by a second one of the same client, which falls silent when the first closes", async () => {
    const first = await openSocket(server.url, "twice");
    await first.until("the first status", ({ type }) => type === "status");
    const second = await openSocket(server.url, "twice");
    await second.until("the first status", ({ type }) => type === "status");
    await submit(server.url, { "1": addOne(1) }, { client_id: "twice" });
    await second.until("the end of the prompt", isLast);
    expect(types(first.messages)).toEqual(["status"]);

    await first.close();
    const heard = second.messages.length;
    const { id, socket: witness } = await client();
    await submit(server.url, { "1": addOne(2) }, { client_id: "twice" });
    await witness.until("the queue to be empty again", isIdleStatus);
    await submit(server.url, { "1": addOne(3) }, { client_id: id });
    await witness.until("the end of its own prompt", isLast);
    expect(second.messages.slice(heard)).toEqual([]);
    await witness.close();
    await second.close();
  });
});

describe("the client of a prompt", () => {
  it("hears of every step, in the order of the contract", async () => {
    const heard = await messagesOf({ "1": slow(0.3), "2": addOne(["1", 0]), "3": addOne(7) });

    expect(asText(heard)).toMatch(orderOfMessages);
    expect(types(heard).filter((type) => type === "progress")).toHaveLength(3);
    expect(types(heard).filter((type) => type === "executed")).toHaveLength(3);
    const states = heard.filter(({ type }) => type === "progress_state").at(-1);
    expect(states?.data.nodes).toMatchObject({
      "1": { state: "finished", value: 3, max: 3 },
      "2": { state: "finished", value: 1, max: 1 },
      "3": { state: "finished" },
    });
  });

  it("hears of a cached output without its being executed", async () => {
    await messagesOf({ "1": addOne(71) });
    const heard = await messagesOf({ "1": addOne(71) });

    expect(types(heard)).toEqual([
      ...["status", "status", "execution_start", "execution_cached", "executed", "progress_state"],
      ...["execution_success", "status", "executing"],
    ]);
    expect(heard[3]?.data.nodes).toEqual(["1"]);
    expect(heard[4]?.data.output).toEqual({ value: [72] });
  });

  it("hears of a failure with its traceback, in the same order", async () => {
    const heard = await messagesOf({ "1": { class_type: "TestFail", inputs: { message: "as asked" } } });

    expect(asText(heard)).toMatch(orderOfMessages);
    expect(heard.at(-3)).toMatchObject({ type: "execution_error", data: { exception_message: "as asked\n" } });
  });

  it("hears of an interrupt, in the same order", async () => {
    const heard = await messagesOf({ "1": slow(600) }, async (socket) => {
      await socket.until("progress", ({ type }) => type === "progress");
      await request(server.url, "POST", "/interrupt");
    });

    expect(asText(heard)).toMatch(orderOfMessages);
    expect(types(heard).at(-3)).toBe("execution_interrupted");
  });

  it("hears of pictures by their names", async () => {
    const heard = await messagesOf({
      "1": { class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 2, color: 9 } },
      "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
    });

    expect(asText(heard)).toMatch(orderOfMessages);
    const shown = heard.filter(({ type }) => type === "executed");
    expect(shown).toHaveLength(1);
    expect(shown[0]?.data.output).toMatchObject({ images: [{ type: "temp" }, { type: "temp" }] });
  });

  it("is told which node runs when it comes back in the middle", async () => {
    const { id, socket } = await client();
    const promptId = await submit(server.url, { "1": slow(600) }, { client_id: id });
    await socket.until("progress", ({ type }) => type === "progress");
    await socket.close();

    const again = await openSocket(server.url, id);
    await again.until("what runs", ({ type, data }) => type === "executing" && data.node === "1");
    await again.until("progress", ({ type }) => type === "progress");
    await request(server.url, "POST", "/interrupt", { prompt_id: promptId });
    await again.until("the end of the prompt", isLast);
    expect(types(again.messages).slice(0, 2)).toEqual(["status", "executing"]);
    await again.close();
  });
});

describe("other clients", () => {
  it("hear of the queue only", async () => {
    const { socket: other } = await client();
    await messagesOf({ "1": slow(0.1) });
    await other.until("the queue to be empty again", isIdleStatus);

    expect(types(other.messages)).toEqual(["status", "status", "status", "status"]);
    await other.close();
  });

  it("hear of the progress of a prompt that nobody's name is on", async () => {
    const { socket } = await client();
    await finished(server.url, await submit(server.url, { "1": slow(0.1) }));
    await socket.until("the queue to be empty again", isIdleStatus);

    expect(types(socket.messages.slice(1))).toEqual([
      ...["status", "status", "progress_state", "progress_state", "progress", "progress_state", "status"],
    ]);
    await socket.close();
  });
});

describe("the log", () => {
  it("is sent to who subscribes, with the terminal's size only when it changes", async () => {
    const { id, socket } = await client();
    const subscription = { clientId: id, enabled: true };
    expect((await request(server.url, "PATCH", "/internal/logs/subscribe", subscription)).status).toBe(200);
    await finished(server.url, await submit(server.url, { "1": addOne(1) }));
    await socket.until("the last line", ({ data }) => JSON.stringify(data).includes("Prompt executed in"));

    const logs = socket.messages
      .filter(({ type }) => type === "logs")
      .map((message) => messageForm.parse(message).data);
    expect(logs).toMatchObject([
      { entries: [{ m: "got prompt\n" }], size: { cols: expect.any(Number) } },
      { entries: [{ m: expect.stringMatching(/^Prompt executed in/) }], size: null },
    ]);
    await request(server.url, "PATCH", "/internal/logs/subscribe", { ...subscription, enabled: false });
    await socket.close();
  });
});
