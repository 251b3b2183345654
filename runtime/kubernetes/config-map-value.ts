import { setTimeout as delay } from "node:timers/promises";
import type { V1ConfigMap } from "@kubernetes/client-node";
import { z } from "zod";
import type { Owner } from "../deployment";
import type { Cluster } from "./connection";
import { orNull, statusOf } from "./failure";
import { annotationsOf } from "./names";

/** Somebody else owns what was to be changed, or was faster. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/** How often a compare-and-set is tried again when another writer was faster. */
const attempts = 20;

export const ownerForm = z.object({ organization: z.string(), project: z.string(), stack: z.string() });

export interface ConfigMapPlace<T> {
  readonly cluster: Cluster;
  readonly name: string;
  /** Key of the ConfigMap's data. */
  readonly key: string;
  readonly form: z.ZodType<T>;
  readonly labels: Readonly<Record<string, string>>;
  /** What it is of, for messages: `service studio`. */
  readonly what: string;
}

/** A value that a ConfigMap holds as JSON: every change is a compare-and-set on what was read. */
export class ConfigMapValue<T> {
  constructor(private readonly place: ConfigMapPlace<T>) {}

  /** Null when there is none. @throws when it is not as this package writes it */
  async read(): Promise<T | null> {
    const found = await this.#read();
    return found === null ? null : this.#parse(found);
  }

  /** Changes what is there; the change sees what it replaces, and may refuse by throwing. It may be called several times. */
  change(change: (value: T) => T): Promise<T> {
    return this.#change(null, change);
  }

  /** As {@link change}; makes it, with the first value, where there is none. */
  changeOrMake(first: T, owner: Owner, change: (value: T) => T): Promise<T> {
    return this.#change({ first, owner }, change);
  }

  async remove(): Promise<void> {
    const { cluster, name } = this.place;
    await orNull(cluster.core.deleteNamespacedConfigMap({ name, namespace: cluster.namespace }));
  }

  gone(): Error {
    return new Error(`the namespace ${this.place.cluster.namespace} has no ${this.place.what} any more`);
  }

  async #change(fresh: { readonly first: T; readonly owner: Owner } | null, change: (value: T) => T): Promise<T> {
    const { name, key, labels } = this.place;
    const { core, namespace } = this.place.cluster;
    for (let attempt = 1; ; attempt++) {
      const found = await this.#read();
      try {
        if (found === null) {
          if (fresh === null) throw this.gone();
          const { first, owner } = fresh;
          const metadata = { name, labels: { ...labels }, annotations: { ...annotationsOf(owner) } };
          await core.createNamespacedConfigMap({
            namespace,
            body: { metadata, data: { [key]: JSON.stringify(first) } },
          });
          return first;
        }
        const before = this.#parse(found);
        const after = change(before);
        if (JSON.stringify(after) === JSON.stringify(before)) return after;
        // Carries the resourceVersion that was read: another writer's change in between is refused.
        const annotations = { ...found.metadata?.annotations, ...(fresh === null ? {} : annotationsOf(fresh.owner)) };
        const body = {
          ...found,
          metadata: { ...found.metadata, annotations },
          data: { ...found.data, [key]: JSON.stringify(after) },
        };
        await core.replaceNamespacedConfigMap({ name, namespace, body });
        return after;
      } catch (error) {
        if (statusOf(error) !== 409 || attempt >= attempts) throw error;
        await delay(Math.random() * 50 * attempt);
      }
    }
  }

  #read(): Promise<V1ConfigMap | null> {
    const { name, cluster } = this.place;
    return orNull(cluster.core.readNamespacedConfigMap({ name, namespace: cluster.namespace }));
  }

  #parse({ data }: V1ConfigMap): T {
    const { key, name, form, cluster } = this.place;
    const what = `${key} of the ConfigMap ${cluster.namespace}/${name}`;
    let content: unknown;
    try {
      content = JSON.parse(data?.[key] ?? "");
    } catch (error) {
      throw new Error(`${what} is not JSON: ${(error as Error).message}`);
    }
    const parsed = form.safeParse(content);
    if (parsed.success) return parsed.data;
    throw new Error(`${what} is not as this package writes it: ${z.prettifyError(parsed.error)}`);
  }
}
