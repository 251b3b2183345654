// Stand-ins for Pulumi's resource plugins, for tests: each is a folder test/support/<package>-plugin whose main.ts calls `serve` of
// test/support/plugin-base. Run as a program with a package's name it prints the folder that has to be on PATH.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { cache, root } from "./paths.mjs";
import { main } from "./say.mjs";

const support = join(root, "test", "support");

/** What a stand-in's program says of itself. */
export const mark = "stand-in for tests";

/** The version of a package's SDK, which is the one of its plugin. */
export const sdkVersion = (packageName) =>
  JSON.parse(readFileSync(join(root, "node_modules", "@pulumi", packageName, "package.json"), "utf8")).version;

/**
 * The folder with `pulumi-resource-<package>`: one file, whatever installs the clone's dependencies, under a name that says what it was
 * made from.
 */
export async function provideStandInPlugin(packageName) {
  const program = `pulumi-resource-${packageName}`;
  const sources = join(support, `${packageName}-plugin`);
  const folder = join(cache, `${packageName}-plugin-${fingerprint(sources)}`);
  if (existsSync(join(folder, program))) return folder;
  const making = `${folder}.${process.pid}`;
  mkdirSync(making, { recursive: true });
  try {
    await createRequire(join(root, "package.json"))("esbuild").build({
      entryPoints: [join(sources, "main.ts")],
      outfile: join(making, `${program}.js`),
      bundle: true,
      platform: "node",
      format: "cjs",
      target: "node22",
      keepNames: true,
      define: { SDK_VERSION: JSON.stringify(sdkVersion(packageName)) },
      logLevel: "warning",
    });
    const script = `#!/bin/sh\n# ${mark}: see test/support/${packageName}-plugin of pulumi-comfyui\nexec "${process.execPath}" --no-deprecation "${join(folder, `${program}.js`)}" "$@"\n`;
    writeFileSync(join(making, program), script, { mode: 0o755 });
    try {
      renameSync(making, folder);
    } catch (error) {
      // Another process was quicker.
      if (!existsSync(join(folder, program))) throw error;
    }
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return folder;
}

function fingerprint(sources) {
  const hash = createHash("sha256")
    .update(process.execPath)
    .update(readFileSync(fileURLToPath(import.meta.url)));
  for (const folder of [join(support, "plugin-base"), sources]) {
    for (const file of readdirSync(folder).sort()) hash.update(file).update(readFileSync(join(folder, file)));
  }
  return hash
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex")
    .slice(0, 16);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main(async () => {
    process.stdout.write(`${await provideStandInPlugin(process.argv[2])}\n`);
  });
}
