/** A JSON object of which nothing is known yet. */
export type Values = { [key: string]: unknown };

export function isValues(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What lies below a value, or undefined where the way ends. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let here = value;
  for (const step of path) {
    if (typeof step === "number") here = Array.isArray(here) ? here[step] : undefined;
    else here = isValues(here) ? here[step] : undefined;
  }
  return here;
}

export function textAt(value: unknown, ...path: readonly (string | number)[]): string | undefined {
  const found = at(value, ...path);
  return typeof found === "string" ? found : undefined;
}

export function numberAt(value: unknown, ...path: readonly (string | number)[]): number | undefined {
  const found = at(value, ...path);
  return typeof found === "number" ? found : undefined;
}

export function listAt(value: unknown, ...path: readonly (string | number)[]): readonly unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}

/** The object below, made where it is missing. */
export function objectIn(parent: Values, key: string): Values {
  const found = parent[key];
  if (isValues(found)) return found;
  const made: Values = {};
  parent[key] = made;
  return made;
}

/** Sets what lies below an object; nothing happens where the way leads through something else than objects. */
export function setAt(object: Values, path: readonly (string | number)[], value: unknown): void {
  const [step, ...rest] = path;
  if (typeof step !== "string") return;
  if (rest.length > 0) setAt(objectIn(object, step), rest, value);
  else if (value === undefined) delete object[step];
  else object[step] = value;
}

/** The steps of a property path as Pulumi writes it: `spec.replicas`, `metadata.annotations["a.b/c"]`, `spec.ports[0]`. */
export function propertyPath(path: string): readonly (string | number)[] {
  const steps: (string | number)[] = [];
  for (const [, name, quoted, index] of path.matchAll(/([^.[\]]+)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]/g)) {
    if (index !== undefined && name === undefined) steps.push(Number(index));
    else steps.push(name ?? quoted?.replaceAll('\\"', '"') ?? "");
  }
  return steps;
}
