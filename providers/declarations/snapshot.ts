import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import type { Problem } from "../../runtime/problems";
import { isS3Location } from "../../runtime/store";
import { type Declaration, environmentSchema, folderProblems } from "./common";
import { environmentProblems } from "./dev-workstation";
import { storeAccessSchema, storeSchema } from "./store";

export const modelsSchema = z.enum(
  ["referenced", "locked", "included"],
  'is none of "referenced", "locked", "included"',
);
export const publishSchema = z.enum(["onChange", "whenStopped"], 'is neither "onChange" nor "whenStopped"');

export const snapshotSchema = z.strictObject({
  environment: environmentSchema,
  store: storeSchema,
  access: storeAccessSchema.optional(),
  models: modelsSchema.default("referenced"),
  publish: publishSchema.default("onChange"),
  /** The workstation whose environment it is; its own declaration speaks for the environment. */
  workstation: z.string().nullable().default(null),
});

export async function lookAtSnapshot({ arguments: values }: Declaration): Promise<readonly Problem[]> {
  const given = values as z.input<typeof snapshotSchema>;
  return [
    ...(storeSchema.safeParse(given.store).success && !isS3Location(given.store)
      ? folderProblems("store", given.store)
      : []),
    // Without the environment an earlier snapshot is kept, which only the resource itself knows of.
    ...(typeof given.workstation !== "string" && existsSync(resolve(String(given.environment?.root)))
      ? await environmentProblems(given.environment)
      : []),
  ];
}
