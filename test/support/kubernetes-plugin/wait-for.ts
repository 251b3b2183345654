import { isValues, listAt, textAt, type Values } from "../plugin-base/values";

/** What is still missing of the conditions in `pulumi.com/waitFor`: one, or a JSON list of them. */
export function missingConditions(expression: string, object: Values): readonly string[] {
  return conditionsIn(expression)
    .filter((condition) => !holds(condition, object))
    .map((condition) => `Waiting for ${condition}`);
}

function conditionsIn(expression: string): readonly string[] {
  let list: unknown;
  try {
    list = JSON.parse(expression);
  } catch {
    return [expression];
  }
  if (!Array.isArray(list)) return [expression];
  if (list.length === 0) throw new Error("at least one condition must be specified");
  return list.map(String);
}

function holds(condition: string, object: Values): boolean {
  const [, kind, rest = ""] = /^(jsonpath|condition)=(.*)$/s.exec(condition) ?? [];
  if (kind === "jsonpath") {
    const [, path, value] = /^\{([^}]*)\}(?:=(.*))?$/s.exec(rest) ?? [];
    if (path === undefined)
      throw new Error(`jsonpath expression in ${JSON.stringify(condition)} is not of the form {.path}=value`);
    const found = select(path, object);
    return value === undefined ? found.length > 0 : found.some((one) => String(one) === value);
  }
  if (kind === "condition") {
    const [type = "", status = "True"] = rest.split("=");
    return listAt(object, "status", "conditions").some(
      (one) =>
        textAt(one, "type")?.toLowerCase() === type.toLowerCase() &&
        textAt(one, "status")?.toLowerCase() === status.toLowerCase(),
    );
  }
  throw new Error(`expected a "jsonpath=" or "condition=" prefix, got ${JSON.stringify(condition)}`);
}

/** The values that a path of kubectl's JSONPath leads to; of filters, only equality. */
function select(path: string, object: Values): readonly unknown[] {
  let here: readonly unknown[] = [object];
  const step = /\.([\w-]+|\*)|\['([^']+)'\]|\[(\d+|\*)\]|\[\?\(@\.([\w.-]+)\s*==\s*["']([^"']*)["']\)\]/gy;
  let end = 0;
  for (let match = step.exec(path); match !== null; match = step.exec(path)) {
    const [, name, quoted, index, key, value] = match;
    end = step.lastIndex;
    here = here.flatMap((one) => {
      if (key !== undefined)
        return each(one).filter((inner) => String(select(`.${key}`, isValues(inner) ? inner : {})[0]) === value);
      if (name === "*" || index === "*") return each(one);
      if (index !== undefined) return each(one).slice(Number(index), Number(index) + 1);
      const inner = isValues(one) ? one[name ?? quoted ?? ""] : undefined;
      return inner === undefined ? [] : [inner];
    });
  }
  if (end !== path.length) throw new Error(`unsupported JSONPath: ${path.slice(end)} in ${path}`);
  return here;
}

function each(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  return isValues(value) ? Object.values(value) : [];
}
