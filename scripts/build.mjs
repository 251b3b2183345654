// Compiles the package to dist/ (CommonJS and declarations) and bundles the programs that run on their own.
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

execFileSync(process.execPath, [require.resolve("typescript/bin/tsc"), "-p", join(root, "tsconfig.json")], {
  stdio: "inherit",
});

/** Bytes that a program may have at most: what makes it grow past this should be noticed. */
const bundles = [
  // Two fifths are the client of the Kubernetes API, which is loaded only in a cluster.
  { name: "gateway", source: join("gateway", "main.ts"), most: 2 * 1024 * 1024 },
  { name: "agent", source: join("agent", "main.ts"), most: 2 * 1024 * 1024 },
  // Loaded by each thread of a scan, where two dozen files take a fifth of its time.
  { name: "snapshot-threads", source: join("snapshot", "threads", "main.ts"), most: 256 * 1024 },
];
let gzipped = 0;
for (const { name, source, most } of bundles) {
  const outfile = join(root, "dist", "bundles", `${name}.js`);
  await build({
    entryPoints: [join(root, "runtime", source)],
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22",
    minify: true,
    // Errors of threads reach users with the names of their classes.
    keepNames: true,
    // The launcher, which the agent puts into ComfyUI's container.
    loader: { ".py": "text" },
    // The Kubernetes client's fetch brings its own URL for Node.js before 10, and with it the deprecated built-in `punycode`.
    alias: { "whatwg-url": "node:url" },
    logLevel: "warning",
  });
  const content = readFileSync(outfile);
  const { length } = content;
  if (length > most) throw new Error(`${outfile} has ${length} bytes, more than the ${most} allowed`);
  gzipped += gzipSync(content, { level: 9 }).length;
}

/** Bytes, gzipped: in a cluster the programs travel in one ConfigMap, which may have 1 MiB. */
const mostGzipped = 900 * 1024;
if (gzipped > mostGzipped) throw new Error(`the programs have ${gzipped} bytes gzipped, more than ${mostGzipped}`);

const command = join(root, "dist", "runtime", "cli", "main.js");
if (existsSync(command)) chmodSync(command, 0o755);
