// npm run bench: compiles the package where its sources are newer, and the bench, then measures. Arguments: see --help.
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { cache, root } from "./setup/paths.mjs";
import { foreground, run } from "./setup/run.mjs";
import { main, say } from "./setup/say.mjs";

const newest = (folder, ending) =>
  Math.max(
    0,
    ...readdirSync(folder, { recursive: true })
      .filter((name) => name.endsWith(ending))
      .map((name) => statSync(join(folder, name)).mtimeMs),
  );

const isFile = (path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true;

await main(async () => {
  const compiled = join(root, "dist", "runtime");
  if (!isFile(join(compiled, "cli", "main.js")) || newest(join(root, "runtime"), ".ts") > newest(compiled, ".js")) {
    say("compiling the package");
    run(process.execPath, [join(root, "scripts", "build.mjs")]);
  }
  // Inside node_modules, so that the bundles find the packages that they leave out.
  const scripts = join(root, "node_modules", ".cache", "bench");
  mkdirSync(scripts, { recursive: true });
  await build({
    entryPoints: ["main.ts", "engine.ts", "throttling-proxy-main.ts"].map((name) => join(root, "bench", name)),
    outdir: scripts,
    outExtension: { ".js": ".cjs" },
    bundle: true,
    packages: "external",
    platform: "node",
    format: "cjs",
    target: "node22",
    logLevel: "warning",
  });
  const env = { ...process.env, BENCH_REPOSITORY: root, BENCH_CACHE: cache, BENCH_SCRIPTS: scripts };
  return foreground(process.execPath, [join(scripts, "main.cjs"), ...process.argv.slice(2)], {
    cwd: process.cwd(),
    env,
  });
});
