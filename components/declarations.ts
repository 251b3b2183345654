import type { Declaration } from "../providers/declarations";
import { knownLater } from "../providers/unknown";
import { sdk } from "./sdk";

/** What each program has declared: one process may run several, one after the other or at once (Automation API). */
const programs = new WeakMap<object, Declaration[]>();
/** Stands for the program where there is no stack, as in tests. */
const noStack = {};

function declaredByThisProgram(): Declaration[] {
  const program = sdk.runtime.getStackResource() ?? noStack;
  const declarations = programs.get(program) ?? [];
  programs.set(program, declarations);
  return declarations;
}

/**
 * Adds a component to what the program declares. The promise gives all that the program has declared by the end of its synchronous
 * part: the first check of any of them speaks for all, since the engine asks no other after one that fails.
 */
export function declare(kind: Declaration["kind"], name: string, args: object): Promise<readonly Declaration[]> {
  const declarations = declaredByThisProgram();
  declarations.push({ kind, name, arguments: plain(args) });
  return new Promise((resolve) => setImmediate(() => resolve([...declarations])));
}

/** The value with every output, promise and secret in it marked as known later. Must not wait for anything. */
export function plain(value: unknown): unknown {
  if (sdk.Output.isInstance(value) || value instanceof Promise) return knownLater;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, part]) => (part === undefined ? [] : [[name, plain(part)]])),
  );
}
