import type { Engine } from "../plugin-base/engine";
import { at, propertyPath, setAt, textAt, type Values } from "../plugin-base/values";
import { type Api, ApiError, UnknownKind } from "./api";
import type { Configuration } from "./configuration";
import { isOthers, takenOver } from "./managed-fields";
import { annotation, annotations, isAnnotated, kindOf, nameOf, qualifiedName } from "./objects";
import { isDeletionAwaited, readyCheck, timeoutOf } from "./readiness";
import { Incomplete, wait } from "./waiting";

/** What the operations on live objects work with. */
export interface Operation {
  readonly urn: string;
  readonly api: Api;
  readonly configuration: Configuration;
  readonly engine: Engine;
  readonly signal: AbortSignal;
  readonly fieldManager: string;
  /** Seconds of `customTimeouts`; 0 for none. */
  readonly timeout: number;
  readonly preview: boolean;
}

const help =
  "https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/#handle-field-conflicts-on-existing-resources";

function explained(error: unknown, fieldManager: string): unknown {
  if (!(error instanceof ApiError) || !error.isConflict) return error;
  const message = `Server-Side Apply field conflict detected. See ${help} for troubleshooting help.\nThe resource managed by field manager "${fieldManager}" had an apply conflict: ${error.message}`;
  return new ApiError(error.code, error.reason, message);
}

/** Whether the object is there to be made for others' namespaces or definitions, which may come in a moment. */
function mayComeYet(error: unknown): boolean {
  return error instanceof UnknownKind || (error instanceof ApiError && error.isNotFound);
}

/**
 * Creates an object and waits until it is ready. An object of this name is an error, unless the provider upserts.
 * Throws `Incomplete` when it was created and is not ready.
 */
export async function createObject(operation: Operation, inputs: Values, patch: boolean): Promise<Values> {
  const { urn, engine } = operation;
  const attempts = operation.preview ? 1 : 6;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const object = await makeObject(operation, inputs, patch);
      return operation.preview ? object : await untilReady(operation, inputs, object);
    } catch (error) {
      if (error instanceof Incomplete || !mayComeYet(error) || attempt >= attempts || operation.signal.aborted)
        throw error;
      await engine.status(
        `Retry #${attempt - 1}; creation failed: ${error instanceof Error ? error.message : error}`,
        urn,
      );
      await new Promise((done) => setTimeout(done, 100 * 2 ** attempt));
    }
  }
}

async function makeObject(operation: Operation, inputs: Values, patch: boolean): Promise<Values> {
  const { api, configuration, fieldManager, preview } = operation;
  if (!configuration.serverSideApply || !(configuration.upsertExistingObjects || patch)) {
    return api.create(inputs, configuration.serverSideApply ? fieldManager : "pulumi-kubernetes", preview);
  }
  const force = preview || isForced(operation, inputs);
  try {
    return await api.apply(inputs, { fieldManager, force, dryRun: preview });
  } catch (error) {
    throw explained(error, fieldManager);
  }
}

function isForced({ configuration }: Operation, inputs: Values): boolean {
  return isAnnotated(inputs, annotations.patchForce) || configuration.patchForce;
}

/** Changes an object in place and waits until it is ready again. */
export async function updateObject(
  operation: Operation,
  inputs: Values,
  ignored: readonly string[],
  patch: boolean,
): Promise<Values> {
  const { api, configuration, fieldManager, preview } = operation;
  const live = await api.get(inputs);
  if (live === undefined) throw new ApiError(404, "NotFound", `${kindOf(inputs)} "${nameOf(inputs)}" not found`);
  const wanted = withoutIgnored(inputs, live, ignored, fieldManager);
  let object: Values;
  if (kindOf(inputs) === "CustomResourceDefinition") {
    setAt(wanted, ["metadata", "resourceVersion"], textAt(live, "metadata", "resourceVersion"));
    object = await api.replace(wanted, fieldManager, preview);
  } else if (configuration.serverSideApply) {
    if (!preview && !patch) await takeOver(api, live, fieldManager);
    const force = isForced(operation, inputs) || (preview && takenOver(live, fieldManager) !== undefined);
    try {
      object = await api.apply(wanted, { fieldManager, force, dryRun: preview });
    } catch (error) {
      throw explained(error, fieldManager);
    }
  } else {
    object = await api.patch(inputs, "application/merge-patch+json", wanted, {
      fieldManager: "pulumi-kubernetes",
      dryRun: preview ? "All" : undefined,
    });
  }
  return preview ? object : untilReady(operation, inputs, object);
}

/** Ignored fields that are others' are left out; the rest stays as it is. */
function withoutIgnored(inputs: Values, live: Values, ignored: readonly string[], fieldManager: string): Values {
  const result: Values = structuredClone(inputs);
  for (const path of ignored.map(propertyPath)) {
    const value = at(live, ...path);
    if (isOthers(live, fieldManager, path)) setAt(result, path, undefined);
    else if (value !== undefined) setAt(result, path, value);
  }
  return result;
}

async function takeOver(api: Api, live: Values, fieldManager: string): Promise<void> {
  const entries = takenOver(live, fieldManager);
  if (entries === undefined) return;
  await api.patch(live, "application/json-patch+json", [
    { op: "replace", path: "/metadata/managedFields", value: entries },
    { op: "replace", path: "/metadata/resourceVersion", value: textAt(live, "metadata", "resourceVersion") },
  ]);
}

async function untilReady(operation: Operation, inputs: Values, object: Values): Promise<Values> {
  const { urn, api, engine, signal, timeout } = operation;
  const check = readyCheck(inputs, api, { settle: true });
  if (check === undefined) return object;
  const live = await wait({
    name: nameOf(object),
    goal: "Ready",
    timeout: timeoutOf(inputs, timeout, check.timeout),
    signal,
    report: (status) => void engine.status(status, urn),
    look: async () => {
      const found = await api.get(object);
      if (found === undefined) return { object, missing: [`${qualifiedName(object)} was deleted`], failed: true };
      return { object: found, ...(await check.look(found)) };
    },
  });
  await engine.status("", urn);
  return live;
}

/** Deletes an object and waits until it is gone, with what it owns: the standard is foreground. */
export async function deleteObject(operation: Operation, object: Values, inputs: Values): Promise<void> {
  const { urn, api, engine, signal, timeout } = operation;
  const wanted = annotation(inputs, annotations.deletionPropagation)?.toLowerCase();
  const policy = wanted === "orphan" ? "Orphan" : wanted === "background" ? "Background" : "Foreground";
  const before = await api.get(object);
  if (before === undefined) return;
  try {
    await api.delete(object, policy);
  } catch (error) {
    if (error instanceof ApiError && error.isNotFound) return;
    throw error;
  }
  if (!isDeletionAwaited(inputs)) return;
  let last = before;
  await wait({
    name: nameOf(object),
    goal: "deleted",
    timeout: timeoutOf(inputs, timeout, 10 * 60_000),
    signal,
    report: (status) => void engine.status(status, urn),
    look: async () => {
      const live = await api.get(object);
      // Another object of this name is not the one that was deleted.
      if (live === undefined || at(live, "metadata", "uid") !== at(before, "metadata", "uid")) {
        return { object: last, missing: [] };
      }
      last = live;
      return { object: live, missing: [`Resource scheduled for deletion: ${qualifiedName(live)}`] };
    },
  });
  await engine.status("", urn);
}

/** The live object, and what it lacks to be ready; undefined when it is gone, or its kind. */
export async function readObject(
  api: Api,
  object: Values,
  inputs: Values,
): Promise<{ readonly live: Values; readonly missing: readonly string[] } | undefined> {
  try {
    const live = await api.get(object);
    if (live === undefined) return undefined;
    const check = readyCheck(inputs, api, { settle: false });
    return { live, missing: check === undefined ? [] : (await check.look(live)).missing };
  } catch (error) {
    if (error instanceof UnknownKind) return undefined;
    throw error;
  }
}
