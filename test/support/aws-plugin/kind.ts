import type { Values } from "../plugin-base/values";
import type { Cloud } from "./cloud";

/** Whether the operation goes on. */
export interface Context {
  readonly cloud: Cloud;
  readonly signal: AbortSignal;
}

/** A type of resource: what the Terraform schema behind it says, and what it does. */
export interface Kind {
  /** Names of its arguments. */
  readonly inputs: readonly string[];
  /** Paths of arguments that, where they are not given, are as they came to be: "Optional, Computed". */
  readonly computed: readonly string[];
  /** Paths whose change replaces it: "ForceNew". */
  readonly replacing: readonly string[];
  /** Lists without order. */
  readonly sets: readonly string[];
  /** The argument that gets the resource's name and some random digits where it is not given; one that is given and stays makes a replacement delete first. */
  readonly autoNamed?: string;
  /** @throws `InitializationFailed` where it was made, and is not as it should be */
  create(context: Context, inputs: Values): Promise<{ readonly id: string; readonly state: Values }>;
  /** The state; undefined when there is no such thing. */
  read(context: Context, id: string): Promise<Values | undefined>;
  update(context: Context, id: string, state: Values, wanted: Values): Promise<Values>;
  delete(context: Context, id: string): Promise<void>;
}
