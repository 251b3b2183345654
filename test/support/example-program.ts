import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import * as comfyui from "../../index";

const repository = resolve(__dirname, "../..");
const require = createRequire(join(repository, "package.json"));

/**
 * What an example's `index.ts` exports, with this package's source as its `pulumi-comfyui`. Declares what the example declares as it is loaded.
 * @param folder what the program takes for its own folder
 */
export async function loadExample(example: string, folder: string): Promise<unknown> {
  const { outputFiles } = await build({
    entryPoints: [join(repository, "examples", example, "index.ts")],
    bundle: true,
    packages: "external",
    platform: "node",
    format: "cjs",
    target: "node22",
    write: false,
    logLevel: "warning",
  });
  const module = { exports: {} as unknown };
  const run = new Function("require", "module", "exports", "__dirname", outputFiles[0]?.text ?? "");
  run((name: string) => (name === "pulumi-comfyui" ? comfyui : require(name)), module, module.exports, folder);
  return module.exports;
}
