// Compiles the package to dist/ (CommonJS and declarations) and bundles the programs that run on their own.
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync, statSync } from "node:fs";
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
  // Travels to wherever a service runs.
  { name: "gateway", source: join("gateway", "main.ts"), most: 2 * 1024 * 1024 },
  // Travels into every pod, gzipped and with the one below, in a ConfigMap of 1 MiB at most that has the gateway as well.
  { name: "agent", source: join("agent", "main.ts"), most: 2 * 1024 * 1024 },
  // Loaded by each thread of a scan, where two dozen files take a fifth of its time.
  { name: "snapshot-threads", source: join("snapshot", "threads", "main.ts"), most: 256 * 1024 },
];
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
    logLevel: "warning",
  });
  const { size } = statSync(outfile);
  if (size > most) throw new Error(`${outfile} has ${size} bytes, more than the ${most} allowed`);
}

/** Bytes, gzipped: what a pod's programs may take of a ConfigMap, half of which is left to the gateway and to growth. */
const mostInPod = 512 * 1024;
const inPod = ["agent", "snapshot-threads"].map((name) => join(root, "dist", "bundles", `${name}.js`));
const packed = inPod.reduce((sum, file) => sum + gzipSync(readFileSync(file), { level: 9 }).length, 0);
if (packed > mostInPod) {
  throw new Error(`${inPod.join(" and ")} have ${packed} bytes gzipped, more than the ${mostInPod} allowed`);
}

const command = join(root, "dist", "runtime", "cli", "main.js");
if (existsSync(command)) chmodSync(command, 0o755);
