// npm run test:cluster: runs test/cluster on the cluster that KUBECONFIG names, else on the lab (test/lab), which is brought up for it
// and taken down again. Arguments go to vitest, for example: npm run test:cluster -- test/cluster/lab.test.ts
import { setUpTests } from "./setup/index.mjs";
import { withKubernetesPlugin } from "./setup/kubernetes-plugin.mjs";
import { onCluster } from "./setup/on-cluster.mjs";
import { root } from "./setup/paths.mjs";
import { foreground } from "./setup/run.mjs";
import { main } from "./setup/say.mjs";

await main(async () => {
  const env = await withKubernetesPlugin(setUpTests());
  const args = ["run", "--config", "vitest.cluster.config.mts", ...process.argv.slice(2)];
  return onCluster(env, (testing) => foreground("vitest", args, { cwd: root, env: testing }));
});
