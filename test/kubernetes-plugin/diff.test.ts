import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { differences } from "../support/kubernetes-plugin/diff";
import { normalize, prune } from "../support/kubernetes-plugin/objects";
import { replacedWhenChanged } from "../support/kubernetes-plugin/replacements";
import type { Values } from "../support/plugin-base/values";

const none = { configMaps: false, secrets: false };

function changed(old: Values, wanted: Values, mutable = none): object {
  return Object.fromEntries(differences(old, wanted, replacedWhenChanged(wanted, mutable)));
}

describe("what differs between a live object and new inputs", () => {
  it("is nothing between an object and itself, whatever is in it", () => {
    const keys = fc.string({ minLength: 1 }).filter((key) => key !== "__proto__");
    fc.assert(
      fc.property(fc.dictionary(keys, fc.jsonValue()), (object) => {
        expect(changed({ ...object }, structuredClone(object) as Values)).toEqual({});
      }),
    );
  });

  it("is told by property path, with what it does to the resource", () => {
    const deployment = (replicas: number, app: string): Values => ({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "d", annotations: { "a.b/c": app } },
      spec: { replicas, selector: { matchLabels: { app } } },
    });

    expect(changed(deployment(1, "one"), deployment(2, "two"))).toEqual({
      'metadata.annotations["a.b/c"]': { change: "update", replaces: false },
      "spec.replicas": { change: "update", replaces: false },
      "spec.selector.matchLabels.app": { change: "update", replaces: true },
    });
  });

  it("does not include another way to write a quantity, nor what is empty and not kept", () => {
    const pod = (requests: Values, more: Values): Values => ({
      apiVersion: "v1",
      kind: "Pod",
      spec: { containers: [{ name: "c", resources: { requests }, ...more }] },
    });

    expect(
      changed(pod({ cpu: "1", memory: "1Gi" }, {}), pod({ cpu: "1000m", memory: "1024Mi" }, { env: [], tty: false })),
    ).toEqual({});
    expect(changed(pod({ cpu: "1" }, {}), pod({ cpu: "2" }, {}))).toEqual({
      "spec.containers[0].resources.requests.cpu": { change: "update", replaces: true },
    });
  });

  it("replaces ConfigMaps and Secrets of other data unless they may change, and always those that are immutable", () => {
    const configMap = (colour: string, immutable?: boolean): Values => ({
      apiVersion: "v1",
      kind: "ConfigMap",
      data: { colour },
      immutable,
    });
    const mutable = { configMaps: true, secrets: true };
    const change = (replaces: boolean) => ({ "data.colour": { change: "update", replaces } });

    expect(changed(configMap("red"), configMap("blue"))).toEqual(change(true));
    expect(changed(configMap("red"), configMap("blue"), mutable)).toEqual(change(false));
    expect(changed(configMap("red", true), configMap("blue", true), mutable)).toEqual(change(true));
  });

  it("replaces where all that holds an unchangeable property is new", () => {
    const service = (spec: Values): Values => ({
      apiVersion: "v1",
      kind: "Service",
      ...(Object.keys(spec).length > 0 ? { spec } : {}),
    });

    expect(changed(service({}), service({ clusterIP: "None" }))).toEqual({ spec: { change: "add", replaces: true } });
    expect(changed(service({}), service({ type: "NodePort" }))).toEqual({ spec: { change: "add", replaces: false } });
  });
});

describe("a live object reduced to its inputs", () => {
  it("has nothing that the API server added", () => {
    const inputs: Values = { metadata: { name: "s" }, spec: { ports: [{ port: 80 }] } };
    const live: Values = {
      metadata: { name: "s", uid: "1" },
      spec: { clusterIP: "10.0.0.1", ports: [{ port: 80, protocol: "TCP" }] },
      status: {},
    };

    expect(prune(live, inputs)).toEqual(inputs);
  });

  it("has a Secret's stringData as the data that it became", () => {
    const secret: Values = { kind: "Secret", stringData: { token: "swordfish" } };

    expect(normalize(secret)).toEqual({ kind: "Secret", data: { token: Buffer.from("swordfish").toString("base64") } });
  });
});
