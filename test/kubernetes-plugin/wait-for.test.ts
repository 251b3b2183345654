import { describe, expect, it } from "vitest";
import { missingConditions } from "../support/kubernetes-plugin/wait-for";

const object = {
  metadata: { uid: "7", annotations: { "a.b/c": "d" } },
  status: {
    phase: "Bound",
    conditions: [
      { type: "Ready", status: "True" },
      { type: "Stalled", status: "False" },
    ],
  },
};

describe("pulumi.com/waitFor", () => {
  it.each([
    "jsonpath={.metadata.uid}",
    "jsonpath={.status.phase}=Bound",
    "jsonpath={.metadata.annotations['a.b/c']}=d",
    'jsonpath={.status.conditions[?(@.type=="Ready")].status}=True',
    "jsonpath={.status.conditions[1].type}=Stalled",
    "condition=Ready",
    "condition=Stalled=False",
    '["condition=Ready", "jsonpath={.metadata.uid}"]',
  ])("finds that %s holds", (expression) => {
    expect(missingConditions(expression, object)).toEqual([]);
  });

  it.each(["jsonpath={.metadata.name}", "jsonpath={.status.phase}=Lost", "condition=Stalled", "condition=Complete"])(
    "finds that %s does not hold yet",
    (expression) => {
      expect(missingConditions(expression, object)).toHaveLength(1);
    },
  );

  it("names, of several, those that do not hold", () => {
    expect(missingConditions('["condition=Ready", "condition=Complete"]', object)).toEqual([
      "Waiting for condition=Complete",
    ]);
  });

  it.each(["ready", "jsonpath=.metadata.uid", "jsonpath={.items[?(@.a>1)]}", "[]"])("refuses %s", (expression) => {
    expect(() => missingConditions(expression, object)).toThrow();
  });
});
