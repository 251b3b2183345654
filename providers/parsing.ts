import type { z } from "zod";
import type { Problem } from "../runtime/problems";
import { isUnknown } from "./unknown";

type Properties = Record<string, unknown>;

export interface Checked<I> {
  readonly inputs: I;
  readonly problems: readonly Problem[];
}

/** Parses each input by itself, so that one which is not known yet hides no other's problem. */
export function parseInputs(schema: z.ZodObject, news: Properties): Checked<Properties> {
  const inputs: Properties = {};
  const problems: Problem[] = [];
  for (const [name, part] of Object.entries(schema.shape)) {
    const value = news[name] ?? undefined;
    if (isUnknown(value)) {
      inputs[name] = value;
      continue;
    }
    const parsed = parse(part, value, name);
    if (parsed.problems.length > 0) problems.push(...parsed.problems);
    else if (parsed.value !== undefined) inputs[name] = parsed.value;
  }
  return { inputs, problems };
}

/** Parses a value, and says of each problem where it is, what is wrong and what was found. Unknown parts are no problem. */
export function parse<T>(
  schema: z.ZodType<T>,
  value: unknown,
  path = "",
): { readonly value: T | undefined; readonly problems: readonly Problem[] } {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return { value: result.data, problems: [] };
  const problems = result.error.issues
    // A property that there is not stays wrong whatever becomes known of the others.
    .filter(({ code, path: at }) => isMisnamed(code, at) || !isUnknown(valueAt(value, at)))
    .map((issue) => {
      const where = propertyPath(path, issue.path);
      return { path: where, reason: reasonOf(issue, mayBeSecret.test(where)) };
    });
  return { value: undefined, problems };
}

/** Deeper down, what is not known yet may itself be an object with a marker in it. */
const isMisnamed = (code: string, path: readonly PropertyKey[]) => code === "unrecognized_keys" && path.length === 0;

function propertyPath(start: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>((shown, part) => {
    if (typeof part === "number") return `${shown}[${part}]`;
    return shown === "" ? String(part) : `${shown}.${String(part)}`;
  }, start);
}

/** Properties whose values are not printed: a provider is not told which of them are secret. */
const mayBeSecret = /^(environmentVariables|apiKeyHashes)\b/;

function reasonOf(issue: z.core.$ZodIssue, hide: boolean): string {
  const { code, message, input } = issue;
  // Of a record's key, what is wrong with it stands inside; the key is in the path.
  if (code === "invalid_key") return issue.issues[0]?.message ?? message;
  if (hide || input === undefined || code === "custom" || code === "unrecognized_keys") return message;
  return `${message}, found ${JSON.stringify(input)?.slice(0, 200)}`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((at, part) => (at as Record<PropertyKey, unknown> | undefined)?.[part], value);
}
