import { markSecrets as markWhatWasSecret, plainObject, secret } from "../plugin-base/properties";
import { isValues, type Values } from "../plugin-base/values";

/** Marks as secret what was secret where the values came from, and the contents of a Secret always. */
export function markSecrets(values: Values, source: Values): Values {
  if (values.kind !== "Secret") return markWhatWasSecret(values, source);
  const marked: Values = { ...values };
  for (const key of ["data", "stringData"]) if (marked[key] !== undefined) marked[key] = secret(marked[key]);
  return marked;
}

/** What is saved of a resource: the live object, and beside it what it was made from. */
export interface Checkpoint {
  readonly inputs: Values;
  readonly live: Values;
  readonly fieldManager: string | undefined;
}

export function checkpoint(inputs: Values, live: Values, source: Values, fieldManager: string): Values {
  return {
    ...markSecrets(live, source),
    __inputs: markSecrets(inputs, source),
    __initialApiVersion: inputs.apiVersion,
    __fieldManager: fieldManager,
  };
}

/** Takes saved properties apart, in plain text. */
export function readCheckpoint(saved: Values): Checkpoint {
  const { __inputs, __initialApiVersion, __fieldManager, ...live } = plainObject(saved);
  return {
    inputs: isValues(__inputs) ? __inputs : {},
    live,
    fieldManager: typeof __fieldManager === "string" ? __fieldManager : undefined,
  };
}
