import { createRequire } from "node:module";
import type * as pulumi from "@pulumi/pulumi";

/**
 * The Pulumi SDK that runs the program. When this package is linked from another folder, a plain `require` finds that folder's copy or
 * none; resources made with a second copy would not be waited for by the one that runs the program. So it is found from the script that
 * runs, which is the SDK's own, and by a plain `require` only where that has none, as in tests.
 */
function load(): typeof pulumi {
  const [, script] = process.argv;
  try {
    if (script !== undefined) return createRequire(script)("@pulumi/pulumi");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
  }
  return require("@pulumi/pulumi");
}

export const sdk = load();
