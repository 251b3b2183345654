// Compiles the package to dist/ (CommonJS and declarations) and bundles the programs that run on their own.
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

execFileSync(process.execPath, [require.resolve("typescript/bin/tsc"), "-p", join(root, "tsconfig.json")], {
  stdio: "inherit",
});

const gateway = join(root, "dist", "bundles", "gateway.js");
await build({
  entryPoints: [join(root, "runtime", "gateway", "main.ts")],
  outfile: gateway,
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node22",
  minify: true,
  logLevel: "warning",
});

/** The gateway travels to wherever a service runs; what makes it grow past this should be noticed. */
const largestBundle = 2 * 1024 * 1024;
const { size } = statSync(gateway);
if (size > largestBundle) throw new Error(`${gateway} has ${size} bytes, more than the ${largestBundle} allowed`);

const command = join(root, "dist", "runtime", "cli", "main.js");
if (existsSync(command)) chmodSync(command, 0o755);
