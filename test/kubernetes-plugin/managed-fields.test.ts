import { describe, expect, it } from "vitest";
import { isOthers, takenOver } from "../support/kubernetes-plugin/managed-fields";
import type { Values } from "../support/plugin-base/values";

const entry = (manager: string, operation: string, fieldsV1: Values, more: Values = {}): Values => ({
  manager,
  operation,
  fieldsV1,
  ...more,
});
const live = (...managedFields: readonly Values[]): Values => ({ metadata: { managedFields } });

describe("fields of an object under several managers", () => {
  it("become one manager's own where the plugin or kubectl set them", () => {
    const scale = entry("kube-controller-manager", "Update", { "f:status": {} }, { subresource: "status" });

    expect(
      takenOver(
        live(
          entry("pulumi-kubernetes-1", "Update", { "f:data": { "f:a": {} } }),
          entry("kubectl-edit", "Update", { "f:data": { "f:b": {} } }),
          scale,
        ),
        "pulumi-kubernetes-1",
      ),
    ).toEqual([entry("pulumi-kubernetes-1", "Apply", { "f:data": { "f:a": {}, "f:b": {} } }), scale]);
  });

  it("stay others' where someone else applied them, and nothing changes", () => {
    expect(
      takenOver(live(entry("someone", "Apply", {}), entry("pulumi-kubernetes-1", "Apply", {})), "pulumi-kubernetes-1"),
    ).toBeUndefined();
  });

  it("are others' only when they are not one's own as well", () => {
    const replicas = { "f:spec": { "f:replicas": {} } };
    const path = ["spec", "replicas"];

    expect(isOthers(live(entry("scaler", "Update", replicas)), "me", path)).toBe(true);
    expect(isOthers(live(entry("scaler", "Update", replicas), entry("me", "Apply", replicas)), "me", path)).toBe(false);
    expect(isOthers(live(entry("scaler", "Update", { "f:spec": {} })), "me", path)).toBe(false);
  });
});
