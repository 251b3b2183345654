import { expect, test } from "vitest";
import { memberText } from "../../runtime/gateway/json-text";
import { describeLoss } from "../../runtime/gateway/lost-prompts";

const request =
  '{"prompt": {"7": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615}}}, "client_id": "me", "extra_data": {"extra_pnginfo": {"workflow": {}}}}';

test("a lost prompt is described as ComfyUI describes one that failed", () => {
  const { record, messages } = describeLoss({ id: "p", number: 12, clientId: "me", request }, "it went", 1795461668308);
  const data = {
    prompt_id: "p",
    node_id: "7",
    node_type: null,
    executed: [],
    exception_message: "it went",
    exception_type: "InstanceLost",
    traceback: [],
    current_inputs: {},
    current_outputs: [],
    timestamp: 1795461668308,
  };
  const parsed = JSON.parse(record);
  expect(parsed).toMatchObject({
    outputs: {},
    meta: {},
    status: { status_str: "error", completed: false, messages: [["execution_error", data]] },
  });
  expect(parsed.prompt.slice(0, 2)).toEqual([12, "p"]);
  expect(parsed.prompt[3]).toEqual({ extra_pnginfo: { workflow: {} }, client_id: "me" });
  expect(memberText(record, "prompt")).toContain("18446744073709551615");
  expect(messages.map((text) => JSON.parse(text))).toEqual([
    { type: "execution_error", data },
    { type: "executing", data: { node: null, prompt_id: "p" } },
  ]);
});

test.each(["{}", '{"prompt": {}}', '{"prompt": 3, "extra_data": null}'])("also one whose request was %s", (text) => {
  const { record } = describeLoss({ id: "p", number: null, clientId: null, request: text }, "it went", 1);
  expect(JSON.parse(record).status.messages[0][1]).toMatchObject({ prompt_id: "p", node_id: null });
});
