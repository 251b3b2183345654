import { withoutIgnored } from "../plugin-base/differences";
import type { Engine } from "../plugin-base/engine";
import { InitializationFailed } from "../plugin-base/errors";
import { hasUnknown, isUnknown, plainObject } from "../plugin-base/properties";
import type { ConfigurationDifference, ResourceDifference, Saved, StandIn } from "../plugin-base/stand-in";
import { at, objectIn, setAt, type Values } from "../plugin-base/values";
import { Api, ApiError, UnknownKind } from "./api";
import { activeCluster, type Configuration, configurationFrom } from "./configuration";
import { differences } from "./diff";
import {
  annotation,
  annotations,
  apiVersionOf,
  fromQualifiedName,
  isAnnotated,
  isUsuallyNamespaced,
  keepGivenName,
  kindOf,
  nameIfUnnamed,
  nameOf,
  namespaceOf,
  newFieldManager,
  normalize,
  prune,
  qualifiedName,
  typeOf,
} from "./objects";
import { checkpoint, markSecrets, readCheckpoint } from "./properties";
import { replacedWhenChanged } from "./replacements";
import { createObject, deleteObject, type Operation, readObject, updateObject } from "./resources";
import { Incomplete } from "./waiting";

const removal = 'rerunning the operation with the PULUMI_K8S_DELETE_UNREACHABLE environment variable set to "true"';

/** What the plugin does, apart from the protocol by which it is asked. */
export class KubernetesProvider implements StandIn {
  private configuration: Configuration = configurationFrom(() => undefined, {});
  private api: Api | undefined;
  private unreachable: string | undefined;
  private readonly cancelled = new AbortController();

  constructor(private readonly engine: Engine) {}

  cancel(): void {
    this.cancelled.abort();
  }

  /** What changed between two configurations; only another cluster takes new resources. */
  diffConfig(olds: Values, news: Values): ConfigurationDifference {
    const changed = [...new Set([...Object.keys(olds), ...Object.keys(news)])].filter(
      (key) => key !== "version" && JSON.stringify(olds[key]) !== JSON.stringify(news[key]),
    );
    const leading = ["kubeconfig", "context", "cluster"].filter((key) => changed.includes(key));
    const identified = news.clusterIdentifier !== undefined && news.clusterIdentifier === olds.clusterIdentifier;
    let replaces: readonly string[] = [];
    const unknown = leading.find((key) => isUnknown(news[key]));
    if (unknown !== undefined) replaces = [unknown];
    else {
      const [before, after] = [olds, news].map((values) =>
        activeCluster((name) => (values[name] === undefined ? undefined : String(values[name]))),
      );
      if (before !== undefined && after !== undefined && before !== after) replaces = leading;
    }
    if (olds.clusterIdentifier !== undefined && news.clusterIdentifier !== undefined && !identified) {
      replaces = [...replaces, "clusterIdentifier"];
    }
    return { changed, replaces: identified ? [] : replaces };
  }

  async configure(setting: (name: string) => string | undefined): Promise<void> {
    this.configuration = configurationFrom(setting, process.env);
    this.unreachable = this.configuration.unreachable;
    if (this.configuration.kubeConfig === undefined) return;
    this.api = new Api(this.configuration.kubeConfig);
    try {
      await this.api.probe();
    } catch (error) {
      this.unreachable = `unable to load schema information from the API server: ${messageOf(error)}`;
    }
    await this.engine.debug("kubernetes: this plugin is the stand-in for tests, not the released one");
  }

  /** The inputs as they will be used: named, in a namespace, secrets marked. */
  async check(urn: string, olds: Values, news: Values, seed: Uint8Array): Promise<Values> {
    const { kind, patch } = typeOf(urn);
    if (this.unreachable !== undefined && this.configuration.skipUpdateUnreachable) {
      await this.engine.warn("Cluster is unreachable but skipUpdateUnreachable flag is set to true, skipping...", urn);
      return olds;
    }
    const inputs = structuredClone(plainObject(news));
    const before = plainObject(olds);
    if (patch && nameOf(inputs) === "") {
      throw new Error("patch resources require the resource `.metadata.name` to be set");
    }
    const managedBy = ["metadata", "labels", "app.kubernetes.io/managed-by"] as const;
    if (Object.keys(before).length > 0) {
      keepGivenName(inputs, before);
      if (at(before, ...managedBy) === "pulumi") setAt(inputs, managedBy, "pulumi");
    } else {
      nameIfUnnamed(inputs, urn, seed);
      if (!this.configuration.serverSideApply) setAt(inputs, managedBy, "pulumi");
    }
    if (this.configuration.namespace !== "" && at(inputs, "metadata", "namespace") === undefined) {
      if (await this.isNamespaced(apiVersionOf(inputs), kind)) {
        objectIn(inputs, "metadata").namespace = this.configuration.namespace;
      }
    }
    return markSecrets(inputs, news);
  }

  async diff(urn: string, olds: Values, news: Values, ignored: readonly string[]): Promise<ResourceDifference> {
    const saved = readCheckpoint(olds);
    const oldInputs = normalize(saved.inputs);
    const wanted = normalize(plainObject(news));
    const old = prune(saved.live, oldInputs);
    if (await this.isNamespaced(apiVersionOf(wanted), kindOf(wanted))) {
      for (const one of [old, wanted]) {
        const metadata = objectIn(one, "metadata");
        metadata.namespace = metadata.namespace || "default";
      }
    }
    const replacing = typeOf(urn).patch
      ? ["metadata.name", "metadata.namespace"]
      : replacedWhenChanged(wanted, this.configuration.mutable);
    const details = withoutIgnored(differences(old, wanted, replacing), ignored);
    const replaces = [...details].filter(([, { replaces: does }]) => does).map(([path]) => path);
    if (await this.isToBeReplacedUnready(urn, wanted)) {
      replaces.push(`.metadata.annotations["${annotations.replaceUnready}"]`);
    }
    const deleteBeforeReplace =
      replaces.length > 0 &&
      !isAnnotated(wanted, annotations.autonamed) &&
      nameOf(wanted) === nameOf(old) &&
      namespaceOf(wanted) === namespaceOf(old);
    return { details, replaces, deleteBeforeReplace };
  }

  private async isToBeReplacedUnready(urn: string, wanted: Values): Promise<boolean> {
    if (!isAnnotated(wanted, annotations.replaceUnready)) return false;
    if (kindOf(wanted) !== "Job") {
      await this.engine.warn("replaceUnready annotation is not supported for this resource", urn);
      return false;
    }
    if (this.api === undefined || this.unreachable !== undefined) return false;
    const live = await this.api.get(wanted);
    const conditions = at(live, "status", "conditions");
    const complete =
      Array.isArray(conditions) && conditions.some((one) => one.type === "Complete" && one.status === "True");
    return live !== undefined && !complete;
  }

  async create(urn: string, news: Values, timeout: number, preview: boolean): Promise<Saved> {
    const inputs = plainObject(news);
    const { patch } = typeOf(urn);
    if (preview) {
      const computed = patch || !this.configuration.serverSideApply || (await this.cannotPreview(inputs));
      if (computed) return { id: "", properties: news };
    }
    const fieldManager = annotation(inputs, annotations.patchFieldManager) ?? newFieldManager();
    const operation = this.operation(urn, fieldManager, timeout, preview);
    try {
      const live = await createObject(operation, inputs, patch);
      if (preview) {
        const { status: _, ...rest } = live;
        return { id: "", properties: checkpoint(inputs, rest, news, fieldManager) };
      }
      return { id: qualifiedName(live), properties: checkpoint(inputs, live, news, fieldManager) };
    } catch (error) {
      if (preview && isNoMatterOfInputs(error)) return { id: "", properties: news };
      const name = qualifiedName(inputs);
      if (error instanceof UnknownKind) {
        throw new Error(
          `creation of resource ${name} failed because the Kubernetes API server reported that the apiVersion for this resource does not exist. Verify that any required CRDs have been created: ${error.message}`,
        );
      }
      if (error instanceof Incomplete) {
        const message = `resource ${name} was successfully created, but the Kubernetes API server reported that it failed to fully initialize or become live: ${error.message}`;
        const properties = checkpoint(inputs, error.object, news, fieldManager);
        throw new InitializationFailed(message, qualifiedName(error.object), properties, error.reasons);
      }
      throw new Error(
        `resource ${name} was not successfully created by the Kubernetes API server : ${messageOf(error)}`,
      );
    }
  }

  async update(
    urn: string,
    olds: Values,
    news: Values,
    { timeout, preview, ignored }: { timeout: number; preview: boolean; ignored: readonly string[] },
  ): Promise<Values> {
    const inputs = plainObject(news);
    if (preview && (await this.cannotPreview(inputs))) return news;
    const saved = readCheckpoint(olds);
    const fieldManager = annotation(inputs, annotations.patchFieldManager) ?? saved.fieldManager ?? newFieldManager();
    const operation = this.operation(urn, fieldManager, timeout, preview);
    try {
      const live = await updateObject(operation, inputs, ignored, typeOf(urn).patch);
      return checkpoint(inputs, live, news, fieldManager);
    } catch (error) {
      const name = qualifiedName(inputs);
      if (preview && error instanceof ApiError && error.code === 403) return news;
      if (error instanceof UnknownKind) {
        throw new Error(
          `update of resource ${name} failed because the Kubernetes API server reported that the apiVersion for this resource does not exist. Verify that any required CRDs have been created: ${error.message}`,
        );
      }
      const live = error instanceof Incomplete ? error.object : await this.reach().get(inputs);
      const message = live
        ? `the Kubernetes API server reported that "${name}" failed to fully initialize or become live: ${messageOf(error)}`
        : `update of resource ${name} failed because the Kubernetes API server reported that it failed to fully initialize or become live: ${messageOf(error)}`;
      if (live === undefined || preview) throw new Error(message);
      const reasons = error instanceof Incomplete ? error.reasons : [];
      throw new InitializationFailed(
        message,
        qualifiedName(live),
        checkpoint(inputs, live, news, fieldManager),
        reasons,
      );
    }
  }

  /** The state of a resource as it is, or undefined when it is gone. Without inputs it is an import. */
  async read(
    urn: string,
    id: string,
    olds: Values,
    oldInputs: Values,
  ): Promise<(Saved & { readonly inputs: Values }) | undefined> {
    if (this.unreachable !== undefined) {
      await this.engine.warn(`configured Kubernetes cluster is unreachable: ${this.unreachable}`, urn);
      if (this.configuration.deleteUnreachable) {
        await this.engine.info(deletedUnreachable, urn);
        return undefined;
      }
      if (this.configuration.skipUpdateUnreachable) return { id, properties: olds, inputs: oldInputs };
      throw new Error(
        `failed to read resource state due to unreachable cluster. If the cluster was deleted, you can remove this resource from Pulumi state by ${removal}`,
      );
    }
    const { namespace, name } = fromQualifiedName(id);
    const { apiVersion, kind } = typeOf(urn);
    const inputs = normalize(plainObject(oldInputs));
    const imported = Object.keys(inputs).length === 0;
    const saved = readCheckpoint(olds);
    const target: Values = {
      apiVersion: apiVersionOf(inputs) || apiVersionOf(saved.live) || apiVersion,
      kind: kindOf(inputs) || kind,
      metadata: namespace === "" ? { name } : { name, namespace },
    };
    const found = await readObject(this.reach(), target, imported ? withAnnotation(target) : inputs);
    if (found === undefined) return undefined;
    const liveInputs = imported ? importedInputs(found.live) : prune(found.live, inputs);
    const fieldManager = annotation(inputs, annotations.patchFieldManager) ?? saved.fieldManager ?? newFieldManager();
    const properties = checkpoint(liveInputs, found.live, oldInputs, fieldManager);
    if (found.missing.length > 0) {
      const message = `'${name}' is not ready`;
      throw new InitializationFailed(message, id, properties, found.missing, markSecrets(liveInputs, oldInputs));
    }
    return { id, properties, inputs: markSecrets(liveInputs, oldInputs) };
  }

  async delete(urn: string, id: string, olds: Values, timeout: number): Promise<void> {
    if (this.unreachable !== undefined) {
      await this.engine.warn(`configured Kubernetes cluster is unreachable: ${this.unreachable}`, urn);
      if (this.configuration.deleteUnreachable) {
        await this.engine.info(deletedUnreachable, urn);
        return;
      }
      throw new Error(
        `configured Kubernetes cluster is unreachable. If the cluster was deleted, you can remove this resource from Pulumi state by ${removal}`,
      );
    }
    const saved = readCheckpoint(olds);
    const { apiVersion, kind, patch } = typeOf(urn);
    const { namespace, name } = fromQualifiedName(id);
    const object: Values = {
      apiVersion: apiVersionOf(saved.live) || apiVersion,
      kind: kindOf(saved.live) || kind,
      metadata: namespace === "" ? { name } : { name, namespace },
    };
    const fieldManager = saved.fieldManager ?? newFieldManager();
    const inputs: Values = { ...saved.inputs, apiVersion: object.apiVersion, kind: object.kind };
    try {
      if (patch) {
        // An empty configuration gives up all fields of its manager.
        if ((await this.reach().get(object)) !== undefined) {
          await this.reach().apply(object, { fieldManager, force: false, dryRun: false });
        }
      } else await deleteObject(this.operation(urn, fieldManager, timeout, false), object, inputs);
    } catch (error) {
      if (error instanceof UnknownKind) return;
      if (!(error instanceof Incomplete)) throw error;
      const properties = checkpoint(saved.inputs, error.object, olds, fieldManager);
      throw new InitializationFailed(error.message, id, properties, error.reasons);
    }
  }

  private operation(urn: string, fieldManager: string, timeout: number, preview: boolean): Operation {
    return {
      urn,
      api: this.reach(),
      configuration: this.configuration,
      engine: this.engine,
      signal: this.cancelled.signal,
      fieldManager: this.configuration.serverSideApply ? fieldManager : "pulumi-kubernetes",
      timeout,
      preview,
    };
  }

  private reach(): Api {
    if (this.unreachable !== undefined || this.api === undefined) {
      throw new Error(`configured Kubernetes cluster is unreachable: ${this.unreachable ?? "it was not configured"}`);
    }
    return this.api;
  }

  private async cannotPreview(inputs: Values): Promise<boolean> {
    if (hasUnknown(inputs) || this.unreachable !== undefined || this.api === undefined) return true;
    return !(await this.api.isServed(inputs));
  }

  private async isNamespaced(apiVersion: string, kind: string): Promise<boolean> {
    if (this.api === undefined || this.unreachable !== undefined) return isUsuallyNamespaced(kind);
    try {
      return await this.api.isNamespaced(apiVersion, kind);
    } catch (error) {
      if (error instanceof UnknownKind) return isUsuallyNamespaced(kind);
      throw error;
    }
  }
}

const deletedUnreachable =
  "configured Kubernetes cluster is unreachable and the `deleteUnreachable` option is enabled. Deleting the unreachable resource from Pulumi state";

/** What a dry run refuses without meaning that the real one will fail. */
function isNoMatterOfInputs(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  // Forbidden: the preview needs no right to write. Exists: it may be about to be replaced. Not found: the namespace is to come.
  return error.code === 403 || error.isAlreadyExists || error.isNotFound;
}

/** An import waits for nothing. */
function withAnnotation(target: Values): Values {
  return { ...target, metadata: { annotations: { [annotations.skipAwait]: "true" } } };
}

function importedInputs(live: Values): Values {
  const { status: _, ...rest } = normalize(live);
  const inputs = structuredClone(rest);
  setAt(inputs, ["metadata", "annotations", "deployment.kubernetes.io/revision"], undefined);
  setAt(inputs, ["metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"], undefined);
  if (JSON.stringify(at(inputs, "metadata", "annotations")) === "{}")
    setAt(inputs, ["metadata", "annotations"], undefined);
  return inputs;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
