import { createRequire } from "node:module";

/**
 * A package of the program's own, for the reason that `components/sdk.ts` has: found from the script that runs, then from the program's
 * folder. It is an optional dependency, which `what` needs: loaded when the first of that is declared.
 */
export function programPackage<T>(name: string, what: string): T {
  const failures: string[] = [];
  for (const from of [process.argv[1], `${process.cwd()}/`, __filename]) {
    if (from === undefined) continue;
    try {
      return createRequire(from)(name);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== "MODULE_NOT_FOUND" || !message.includes(name)) throw error;
      failures.push(from);
    }
  }
  throw new Error(
    `${what} needs the package ${name} in the program's dependencies: run "npm install ${name}" (not found from ${failures.join(", ")})`,
  );
}
