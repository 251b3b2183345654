// Pulumi's `kubernetes` resource plugin for tests; see resource-plugin.mjs. Run as a program it prints which one it is.
import { delimiter } from "node:path";
import { pathToFileURL } from "node:url";
import { provideResourcePlugin } from "./resource-plugin.mjs";
import { main } from "./say.mjs";

/** The environment variables with the plugin on PATH, so that tests neither look for it nor say again which it is. */
export async function withKubernetesPlugin(env) {
  const plugin = await provideResourcePlugin("kubernetes", env);
  return {
    ...env,
    PATH: [plugin.folder, env.PATH].join(delimiter),
    PULUMI_COMFYUI_KUBERNETES_PLUGIN: JSON.stringify(plugin),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main(async () => {
    process.stdout.write(`${JSON.stringify(await provideResourcePlugin("kubernetes", process.env))}\n`);
  });
}
