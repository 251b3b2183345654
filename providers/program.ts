import { z } from "zod";
import type { Problem } from "../runtime/problems";
import { declarationProblems } from "./declarations";
import { type Declaration, ownerSchema } from "./declarations/common";

/** What a component adds to the inputs of the resource whose check comes first. Looked at, and not kept in state. */
const declarationsSchema = z.array(z.custom<Declaration>());

/** Everything that is wrong with what the whole program declares; nothing when the resource does not speak for it. */
export async function programProblems(owner: unknown, declarations: unknown): Promise<readonly Problem[]> {
  if (declarations === undefined || declarations === null) return [];
  return declarationProblems({ owner: ownerSchema.parse(owner), declarations: declarationsSchema.parse(declarations) });
}
