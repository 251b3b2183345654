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
  // Travels to wherever a service runs. Two fifths are the client of the Kubernetes API, which is loaded only there. In a cluster
  // it travels gzipped in a ConfigMap, which may have 1 MiB, together with the agent.
  { name: "gateway", source: join("gateway", "main.ts"), most: 2 * 1024 * 1024, mostGzipped: 450 * 1024 },
  // Loaded by each thread of a scan, where two dozen files take a fifth of its time.
  { name: "snapshot-threads", source: join("snapshot", "threads", "main.ts"), most: 256 * 1024 },
];
for (const { name, source, most, mostGzipped = most } of bundles) {
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
    // The Kubernetes client's fetch brings its own URL for Node.js before 10, and with it the deprecated built-in `punycode`.
    alias: { "whatwg-url": "node:url" },
    logLevel: "warning",
  });
  const content = readFileSync(outfile);
  const sizes = [
    { what: "bytes", size: content.length, most },
    { what: "bytes gzipped", size: gzipSync(content, { level: 9 }).length, most: mostGzipped },
  ];
  for (const { what, size, most } of sizes) {
    if (size > most) throw new Error(`${outfile} has ${size} ${what}, more than the ${most} allowed`);
  }
}

const command = join(root, "dist", "runtime", "cli", "main.js");
if (existsSync(command)) chmodSync(command, 0o755);
