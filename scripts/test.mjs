// npm test: sets everything up, then runs the tests. Arguments go to vitest, for example: npm test -- test/gateway
import { setUpTests } from "./setup/index.mjs";
import { withKubernetesPlugin } from "./setup/kubernetes-plugin.mjs";
import { root } from "./setup/paths.mjs";
import { foreground } from "./setup/run.mjs";
import { main } from "./setup/say.mjs";

await main(async () => {
  const env = await withKubernetesPlugin(setUpTests());
  return foreground("vitest", ["run", ...process.argv.slice(2)], { cwd: root, env });
});
