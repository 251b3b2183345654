import type { z } from "zod";
import { pinProblems, readWorkflow, type workflowSchema } from "./declarations/online-service";
import type { StoreAccess } from "./declarations/store";
import type { Checked } from "./parsing";
import { isUnknown } from "./unknown";

interface Checkable {
  readonly snapshot: string;
  readonly store?: StoreAccess | undefined;
  readonly health: { readonly smoke?: string | z.infer<typeof workflowSchema> | undefined };
}

/**
 * Looks at a release's snapshot, and reads its smoke workflow: the workflow itself is the input, not its path, so that editing the
 * file is a new release.
 */
export async function checkRelease<I extends Checkable>(
  inputs: I,
  instances: { readonly here: boolean },
): Promise<Checked<I>> {
  if (isUnknown(inputs.health)) return { inputs, problems: [] };
  const { smoke, ...health } = inputs.health;
  const problems = isUnknown(inputs.snapshot) ? [] : await pinProblems(inputs.snapshot, inputs.store, instances);
  if (smoke === undefined || isUnknown(smoke)) return { inputs, problems };
  try {
    return { inputs: { ...inputs, health: { ...health, smoke: readWorkflow(smoke) } }, problems };
  } catch (error) {
    return { inputs, problems: [...problems, { path: "health.smoke", reason: (error as Error).message }] };
  }
}
