import { describe, expect, test } from "vitest";
import { memberText } from "../../runtime/gateway/json-text";
import { describeLoss } from "../../runtime/gateway/lost-prompts";
import { historyEntry, historyMessage } from "../support/comfyui-contract";

const instance = { id: "r1/0", release: "r1", url: "http://127.0.0.1:1/", epoch: 1 };
const request =
  '{"prompt": {"7": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615}}}, "client_id": "me", "extra_data": {"extra_pnginfo": {"workflow": {}}}}';

describe("a lost prompt", () => {
  const loss = { id: "p", number: 12, clientId: "me", instance };
  const { record, messages } = describeLoss(loss, request, "it went", 1795461668308);

  test("has a history entry and messages in the form of ComfyUI's for one that failed", () => {
    const entry = historyEntry.parse(JSON.parse(record));
    expect(entry.status).toMatchObject({ status_str: "error", completed: false });
    const [error, last] = messages.map((text) => JSON.parse(text));
    expect(entry.status.messages).toEqual([["execution_error", error.data]]);
    expect(historyMessage.parse([error.type, error.data])[1]).toMatchObject({
      prompt_id: "p",
      node_id: "7",
      node_type: "KSampler",
      exception_message: "it went\n",
    });
    expect(last).toEqual({ type: "executing", data: { node: null, prompt_id: "p" } });
  });

  test("is repeated as its client sent it, to the digit", () => {
    expect(memberText(record, "prompt")).toBe(
      `[12, "p", ${memberText(request, "prompt")}, {"extra_pnginfo": {"workflow": {}}, "client_id": "me"}, []]`,
    );
  });

  test.each([
    "{}",
    "[",
    '{"prompt": {x}}',
    '{"prompt": {}}',
    '{"prompt": 3, "extra_data": null}',
    '{"prompt": {"1": []}}',
  ])("is described also when its request was %s", (text) => {
    const odd = describeLoss({ id: "p", number: null, clientId: null, instance }, text, "it went", 1);
    expect(JSON.parse(odd.record).status.messages[0][1]).toMatchObject({ prompt_id: "p" });
  });
});
