import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { KubeConfig } from "@kubernetes/client-node";
import { Api } from "./kubernetes-plugin/api";
import { at, type Values } from "./plugin-base/values";

/** A namespace of a test's own in the cluster of KUBECONFIG, which is emptied and removed afterwards. */
export class ClusterNamespace implements AsyncDisposable {
  private constructor(
    readonly api: Api,
    readonly name: string,
    /** Path of the kubeconfig. */
    readonly kubeconfig: string,
  ) {}

  static async create(prefix: string): Promise<ClusterNamespace> {
    const path = process.env.KUBECONFIG;
    if (!path) throw new Error("KUBECONFIG is not set: these tests are run by `npm run test:cluster`");
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromFile(path);
    const namespace = new ClusterNamespace(new Api(kubeConfig), `${prefix}-${randomBytes(4).toString("hex")}`, path);
    await namespace.api.create(
      { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace.name } },
      "test",
      false,
    );
    return namespace;
  }

  /** What names an object in this namespace. */
  header(apiVersion: string, kind: string, name: string): Values {
    return { apiVersion, kind, metadata: { name, namespace: this.name } };
  }

  get(apiVersion: string, kind: string, name: string): Promise<Values | undefined> {
    return this.api.get(this.header(apiVersion, kind, name));
  }

  list(apiVersion: string, kind: string): Promise<readonly Values[]> {
    return this.api.list(apiVersion, kind, this.name);
  }

  /** Waits until the object is there and as wanted. */
  async until(
    [apiVersion, kind, name]: readonly [string, string, string],
    holds: (object: Values | undefined) => boolean,
  ): Promise<Values | undefined> {
    const end = performance.now() + 120_000;
    for (;;) {
      const object = await this.get(apiVersion, kind, name);
      if (holds(object)) return object;
      if (performance.now() > end)
        throw new Error(`${kind} ${name} did not come to be as wanted: ${JSON.stringify(object)}`);
      await pause(100);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [apiVersion, kind] of [
      ["v1", "Pod"],
      ["v1", "ConfigMap"],
    ] as const) {
      for (const object of await this.list(apiVersion, kind)) {
        if (at(object, "metadata", "finalizers") === undefined) continue;
        await this.api.patch({ apiVersion, kind, ...object }, "application/merge-patch+json", {
          metadata: { finalizers: null },
        });
      }
    }
    await this.api.delete({ apiVersion: "v1", kind: "Namespace", metadata: { name: this.name } }, "Background");
  }
}
