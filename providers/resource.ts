import type * as pulumi from "@pulumi/pulumi";
import type { z } from "zod";
import type { Context } from "./context";
import { withEngine } from "./engine";
import { type Checked, parseInputs } from "./parsing";
import { programProblems } from "./program";
import { isUnknown } from "./unknown";

/** Inputs that every resource has. */
export interface CommonInputs {
  /** The resource's URN, which the engine does not tell: its row in the progress display. Never a reason for a change. */
  readonly displayUrn: string;
}

export interface Difference {
  /** Names of the inputs that force a replacement. */
  readonly replaces: readonly string[];
  /** Whether something has to be done, in place unless `replaces` names an input. */
  readonly changes: boolean;
}

/** What happens when Pulumi asks: plain functions over plain data. Each may be run again after a kill at any line. */
export interface ResourceDefinition<I extends CommonInputs, O extends object> {
  /** Describes the inputs as a component hands them over; its output is what the other functions get. */
  readonly schema: z.ZodObject;
  /** Looks further than the schema, and adds what a preview should show. Not called when the schema found problems. */
  readonly check?: (inputs: I, olds: I | null, context: Context) => Promise<Checked<I>>;
  /** Inputs whose change replaces the resource. */
  readonly replaceOn: readonly (keyof I & string)[];
  /** Whether the old one must be gone before the new one is made. Default: it goes afterwards. */
  readonly deleteBeforeReplace?: boolean;
  /** Inputs whose change alone is no change at all. */
  readonly ignore?: readonly (keyof I & string)[];
  /** Compares with what is really there; called only when the inputs are the same and known. */
  readonly live?: (id: string, state: I & O) => Promise<Difference>;
  readonly create: (inputs: I, context: Context) => Promise<{ readonly id: string; readonly outputs: O }>;
  readonly update: (id: string, state: I & O, inputs: I, context: Context) => Promise<O>;
  readonly delete: (id: string, state: I & O, context: Context) => Promise<void>;
  /** What the resource is now, or null when it is gone. Throws when that cannot be found out. */
  readonly read: (id: string, state: I & O) => Promise<O | null>;
}

/** Grows when the meaning of what state holds changes; a resource of another version is updated. */
export const schemaVersion = 1;

export const unchanged: Difference = { changes: false, replaces: [] };
export const changed: Difference = { changes: true, replaces: [] };

type Properties = Record<string, unknown>;

/** Makes a definition what Pulumi's dynamic provider calls. */
export function adapt<I extends CommonInputs, O extends object>(
  definition: ResourceDefinition<I, O>,
): Required<Pick<pulumi.dynamic.ResourceProvider, "check" | "diff" | "create" | "update" | "delete" | "read">> {
  const urnOf = (properties: Properties) => String(properties.displayUrn ?? "");
  const outs = (inputs: I, outputs: O) => withoutUndefined({ ...inputs, ...outputs, schema: schemaVersion });
  return {
    check: (olds: Properties, news: Properties) =>
      withEngine(urnOf(news), async (context) => {
        // The engine asks no other resource after one whose check failed: so this one speaks for the whole program.
        const { declarations, ...own } = news;
        const problems = await programProblems(own, declarations);
        if (problems.length > 0) return checkResult({ inputs: own, problems });
        const parsed = parseInputs(definition.schema, own);
        if (parsed.problems.length > 0 || definition.check === undefined) return checkResult(parsed);
        const known = Object.keys(olds).length > 0 ? (olds as unknown as I) : null;
        return checkResult(await definition.check(parsed.inputs as unknown as I, known, context));
      }),
    diff: async (id: string, olds: Properties, news: Properties) => {
      const ignored = new Set<string>(["__provider", "schema", "displayUrn", ...(definition.ignore ?? [])]);
      const differing = Object.keys(definition.schema.shape).filter(
        (name) => !ignored.has(name) && !isEqual(olds[name], news[name]),
      );
      const replaces = differing.filter((name) => (definition.replaceOn as readonly string[]).includes(name));
      const { deleteBeforeReplace = false } = definition;
      if (differing.length > 0) return { changes: true, replaces, deleteBeforeReplace };
      const live = (await definition.live?.(id, olds as unknown as I & O)) ?? unchanged;
      const changes = live.changes || olds.schema !== schemaVersion;
      return { changes, replaces: [...live.replaces], deleteBeforeReplace };
    },
    create: (inputs: I) =>
      withEngine(inputs.displayUrn, async (context) => {
        const { id, outputs } = await definition.create(inputs, context);
        return { id, outs: outs(inputs, outputs) };
      }),
    update: (id: string, olds: I & O, news: I) =>
      withEngine(news.displayUrn, async (context) => ({
        outs: outs(news, await definition.update(id, olds, news, context)),
      })),
    delete: (id: string, olds: I & O) => withEngine(olds.displayUrn, (context) => definition.delete(id, olds, context)),
    read: async (id: string, properties?: I & O) => {
      if (properties === undefined) throw new Error("import is not supported: declare the component and run pulumi up");
      const outputs = await definition.read(id, properties);
      return outputs === null ? {} : { id, props: outs(properties, outputs) };
    },
  };
}

/** Pulumi names a property and then prints its value, of nested ones `<nil>`: so the path stands in the reason. */
function checkResult({ inputs, problems }: Checked<object>): pulumi.dynamic.CheckResult {
  return {
    inputs: withoutUndefined(inputs),
    failures: problems.map(({ path, reason }) => ({
      property: "",
      reason: path === "" ? reason : `${path}: ${reason}`,
    })),
  };
}

/** Pulumi's wire format has no `undefined`: one anywhere fails the operation after it was carried out. */
function withoutUndefined<T extends object>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

function isEqual(a: unknown, b: unknown): boolean {
  if (isUnknown(a) || isUnknown(b)) return false;
  return canonical(a) === canonical(b);
}

/** JSON with sorted keys. Absent and null are the same: Pulumi drops what is undefined. */
export function canonical(value: unknown): string {
  return JSON.stringify(value ?? null, (_, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
