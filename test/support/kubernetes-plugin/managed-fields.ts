import { isValues, listAt, textAt, type Values } from "../plugin-base/values";

// Whose fields become the resource's own at its next update: those of kubectl, and of the plugin itself when it created the
// object by POST. By the beginning of the name, so that kubectl-edit counts as kubectl.
const absorbed: readonly { readonly name: string; readonly operation: string }[] = [
  { name: "kubectl", operation: "Apply" },
  { name: "kubectl", operation: "Update" },
  { name: "before-first-apply", operation: "Update" },
  { name: "pulumi-kubernetes", operation: "Update" },
  { name: "pulumi-resource-kubernetes", operation: "Update" },
];

/** The managed fields after the manager has taken over what is its own, or undefined when nothing changes. */
export function takenOver(live: Values, manager: string): readonly Values[] | undefined {
  const entries = listAt(live, "metadata", "managedFields").filter(isValues);
  const isAbsorbed = (entry: Values) =>
    entry.subresource === undefined &&
    !(entry.manager === manager && entry.operation === "Apply") &&
    absorbed.some(
      ({ name, operation }) => textAt(entry, "manager")?.startsWith(name) && textAt(entry, "operation") === operation,
    );
  const taken = entries.filter(isAbsorbed);
  const [first] = taken;
  if (first === undefined) return undefined;
  const own = entries.find((entry) => entry.manager === manager && entry.operation === "Apply");
  let fields: Values = isValues(own?.fieldsV1) ? own.fieldsV1 : {};
  for (const { fieldsV1 } of taken) if (isValues(fieldsV1)) fields = union(fields, fieldsV1);
  const merged = { ...(own ?? first), manager, operation: "Apply", fieldsV1: fields };
  return [merged, ...entries.filter((entry) => entry !== own && !isAbsorbed(entry))];
}

function union(one: Values, other: Values): Values {
  const result: Values = { ...one };
  for (const [key, value] of Object.entries(other)) {
    const present = result[key];
    result[key] = isValues(present) && isValues(value) ? union(present, value) : value;
  }
  return result;
}

/** Whether anyone of these entries has the field, or something below it. */
function has(entries: readonly Values[], path: readonly (string | number)[]): boolean {
  return entries.some(({ fieldsV1 }) => {
    let here: unknown = fieldsV1;
    for (const step of path) {
      if (!isValues(here)) return false;
      here = here[`f:${step}`];
      if (here === undefined) return false;
    }
    return true;
  });
}

/** Whether a field is others' and not this manager's. */
export function isOthers(live: Values, manager: string, path: readonly (string | number)[]): boolean {
  const entries = listAt(live, "metadata", "managedFields").filter(isValues);
  const own = entries.filter((entry) => entry.manager === manager);
  const others = entries.filter((entry) => entry.manager !== manager);
  return has(others, path) && !has(own, path);
}
