import { createRequire } from "node:module";
import type * as kubernetesSdk from "@pulumi/kubernetes";

let loaded: typeof kubernetesSdk | undefined;

/**
 * The program's own `@pulumi/kubernetes`, for the reason that `components/sdk.ts` has: found from the script that runs. It is an optional
 * dependency, loaded when the first component in a cluster is declared.
 */
export function k8s(): typeof kubernetesSdk {
  loaded ??= load();
  return loaded;
}

function load(): typeof kubernetesSdk {
  const failures: string[] = [];
  for (const from of [process.argv[1], `${process.cwd()}/`, __filename]) {
    if (from === undefined) continue;
    try {
      return createRequire(from)("@pulumi/kubernetes");
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== "MODULE_NOT_FOUND" || !message.includes("@pulumi/kubernetes")) throw error;
      failures.push(from);
    }
  }
  throw new Error(
    `kubernetes({ … }) needs the package @pulumi/kubernetes in the program's dependencies: run "npm install @pulumi/kubernetes" (not found from ${failures.join(", ")})`,
  );
}
