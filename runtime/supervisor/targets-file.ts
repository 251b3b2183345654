import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { TargetInstance, Targets } from "../gateway/targets";
import { readJson, writeJson } from "./files";
import type { ServiceFolders } from "./folders";
import type { Instance } from "./instance";

/** What of instances a gateway may send requests to. */
export function targetsOf(instances: readonly Instance[]): readonly TargetInstance[] {
  return instances.flatMap(({ id, release, url, proven, leaving, epoch }): readonly TargetInstance[] =>
    proven && url !== null ? [{ id, release, url, state: leaving ? "draining" : "ready", epoch }] : [],
  );
}

/** The form of `targets.json`, as far as the supervisor depends on it: it writes the rest anew. */
const form = z.object({ generation: z.int().nonnegative() }) as unknown as z.ZodType<Targets>;

/** What a gateway was told last, or null. @throws when the file is not as this package writes it */
export const readTargets = (folders: ServiceFolders) => readJson(folders.targets, form);

/** What the gateway of a service is told, in a file that it watches. The generation rises over the supervisor's end. */
export class TargetsFile {
  private targets: Targets;

  constructor(private readonly folders: ServiceFolders) {
    this.targets = readTargets(folders) ?? { generation: 0, serving: null, instances: [] };
  }

  get generation(): number {
    return this.targets.generation;
  }

  /** Writes what changed; nothing when nothing did. Returns the generation that has it. */
  publish(serving: string | null, instances: readonly TargetInstance[]): number {
    const { generation, ...before } = this.targets;
    if (generation > 0 && isDeepStrictEqual(before, { serving, instances })) return generation;
    const targets = { generation: generation + 1, serving, instances };
    writeJson(this.folders.targets, targets);
    this.targets = targets;
    return targets.generation;
  }
}
