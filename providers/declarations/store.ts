import { resolve } from "node:path";
import { z } from "zod";
import { isS3Location, parseS3Location } from "../../runtime/store";

/** What a store in S3 needs to be told besides its location; credentials come from the AWS SDK's chain. */
export const storeAccessSchema = z.strictObject({
  region: z.string().min(1, "is empty: name a region").optional(),
  endpoint: z.url({ protocol: /^https?$/, error: "is no URL of an S3-compatible server" }).optional(),
  pathStyle: z.boolean().optional(),
  kmsKeyId: z.string().min(1, "is empty: name a key").optional(),
});

export type StoreAccess = z.output<typeof storeAccessSchema>;

/** A folder, or `s3://bucket/prefix`. */
export const storeSchema = z
  .string()
  .min(1, "is empty: name a folder or s3://bucket/prefix")
  .superRefine((store, context) => {
    if (isS3Location(store)) {
      try {
        parseS3Location(store);
      } catch (error) {
        context.addIssue((error as Error).message);
      }
    } else if (/^[a-z][a-z0-9+.-]*:\/\//i.test(store)) {
      context.addIssue(`${JSON.stringify(store)} is a URL of another kind: name a folder or s3://bucket/prefix`);
    }
  });

/** A store as references name it: a folder by its absolute path. */
export function storeLocation(store: string): string {
  return isS3Location(store) ? store : resolve(store);
}

/** Without what is undefined, which the engine's exact types do not take. */
export function storeSettings(access: StoreAccess | undefined | null) {
  const { region, endpoint, pathStyle, kmsKeyId } = access ?? {};
  return {
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
    ...(kmsKeyId === undefined ? {} : { kmsKeyId }),
  };
}
