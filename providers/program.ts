import { z } from "zod";
import type { Problem } from "../runtime/problems";
import { declarationProblems } from "./declarations";
import { type Declaration, ownerSchema } from "./declarations/common";

/** What a component adds to the inputs of the resource whose check comes first. Looked at, and not kept in state. */
const declarationsSchema = z.array(z.custom<Declaration>());

/** What a resource of a service or workstation in a cluster knows that no declaration says. */
const secretsSchema = z.object({
  service: z.string().optional(),
  workstation: z.string().optional(),
  kubeconfig: z.string(),
});

/**
 * Everything that is wrong with what the whole program declares; nothing when the resource does not speak for it.
 * @param inputs of the resource that speaks.
 */
export async function programProblems(
  inputs: Readonly<Record<string, unknown>>,
  declarations: unknown,
): Promise<readonly Problem[]> {
  if (declarations === undefined || declarations === null) return [];
  const secrets = secretsSchema.safeParse(inputs);
  return declarationProblems({
    owner: ownerSchema.parse(inputs.owner),
    declarations: declarationsSchema.parse(declarations),
    ...(secrets.success ? { secrets: secretsOf(secrets.data) } : {}),
  });
}

function secretsOf({ service, workstation, kubeconfig }: z.output<typeof secretsSchema>) {
  return service === undefined
    ? { kind: "DevWorkstation" as const, name: workstation ?? "", kubeconfig }
    : { kind: "OnlineService" as const, name: service, kubeconfig };
}
