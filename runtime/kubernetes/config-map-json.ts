import type { V1ConfigMap } from "@kubernetes/client-node";
import { z } from "zod";

/** What a ConfigMap holds as JSON. @throws when it is not as this package writes it */
export function parseConfigMap<T>({ metadata, data }: V1ConfigMap, key: string, form: z.ZodType<T>): T {
  const what = `${key} of the ConfigMap ${metadata?.namespace}/${metadata?.name}`;
  let content: unknown;
  try {
    content = JSON.parse(data?.[key] ?? "");
  } catch (error) {
    throw new Error(`${what} is not JSON: ${(error as Error).message}`);
  }
  const parsed = form.safeParse(content);
  if (parsed.success) return parsed.data;
  throw new Error(`${what} is not as this package writes it: ${z.prettifyError(parsed.error)}`);
}
