import { z } from "zod";
import type { Problem } from "../../runtime/problems";
import { parse } from "../parsing";
import type { Declaration, Surroundings } from "./common";
import { devWorkstationSchema, lookAtDevWorkstation } from "./dev-workstation";
import { lookAtOnlineService, onlineServiceSchema } from "./online-service";
import { lookAtSnapshot, snapshotSchema } from "./snapshot";

export type { Declaration, Surroundings } from "./common";

const kinds: Readonly<
  Record<
    Declaration["kind"],
    {
      readonly schema: z.ZodType;
      readonly look: (declaration: Declaration, surroundings: Surroundings) => Promise<readonly Problem[]>;
    }
  >
> = {
  OnlineService: { schema: onlineServiceSchema, look: lookAtOnlineService },
  DevWorkstation: { schema: devWorkstationSchema, look: lookAtDevWorkstation },
  Snapshot: { schema: snapshotSchema, look: lookAtSnapshot },
  // Its own arguments are looked at by itself; others' checks need to know what it makes.
  SnapshotAccess: { schema: z.unknown(), look: async () => [] },
};

/**
 * Everything that is wrong with what a program declares. The engine stops at the first resource whose check fails, so that
 * check speaks for all components of the program, not only for its own.
 */
export async function declarationProblems(surroundings: Surroundings): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  for (const declaration of surroundings.declarations) {
    const { schema, look } = kinds[declaration.kind];
    const found = [...parse(schema, declaration.arguments).problems, ...(await look(declaration, surroundings))];
    problems.push(
      ...found.map(({ path, reason }) => ({
        path: `${declaration.kind} ${JSON.stringify(declaration.name)} ${path}`,
        reason,
      })),
    );
  }
  const seen = new Set<string>();
  return problems.filter(({ path, reason }) => !seen.has(`${path}\0${reason}`) && seen.add(`${path}\0${reason}`));
}
