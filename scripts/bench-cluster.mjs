// npm run bench:cluster: measures rotations on the cluster that tests run on, the lab, which is brought up for it and taken down again, and
// the gate over many pods on an API server alone. Arguments: see --help.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { setUpTests } from "./setup/index.mjs";
import { withKubernetesPlugin } from "./setup/kubernetes-plugin.mjs";
import { provideLab } from "./setup/lab.mjs";
import { onCluster } from "./setup/on-cluster.mjs";
import { root } from "./setup/paths.mjs";
import { foreground } from "./setup/run.mjs";
import { main } from "./setup/say.mjs";

/** What the tests' support finds beside its own files is beside them, not beside the bundle. */
const ownFolders = {
  name: "own-folders",
  setup: ({ onLoad }) => {
    onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(/\b__dirname\b/g, JSON.stringify(dirname(path))),
      loader: "ts",
    }));
  },
};

const needsNoCluster = (args) => {
  const { values } = parseArgs({
    args,
    options: { only: { type: "string", multiple: true }, help: { type: "boolean" } },
    strict: false,
  });
  return values.help || (values.only?.length > 0 && values.only.every((metric) => String(metric).startsWith("gate")));
};

await main(async () => {
  const args = process.argv.slice(2);
  const env = await withKubernetesPlugin(setUpTests());
  // Inside node_modules, so that the bundles find the packages that they leave out.
  const scripts = join(root, "node_modules", ".cache", "bench-cluster");
  await build({
    entryPoints: ["main.ts", "gate-main.ts"].map((name) => join(root, "bench", "cluster", name)),
    outdir: scripts,
    outExtension: { ".js": ".cjs" },
    bundle: true,
    packages: "external",
    platform: "node",
    format: "cjs",
    target: "node22",
    plugins: [ownFolders],
    logLevel: "warning",
  });
  const measure = (found) => {
    const kubectl = found.TEST_LAB
      ? { BENCH_KUBECTL: `${join(dirname(found.KUBECONFIG), "bin", "kube")} kubectl` }
      : {};
    const variables = { ...found, ...kubectl, BENCH_SCRIPTS: scripts };
    return foreground(process.execPath, [join(scripts, "main.cjs"), ...args], { cwd: process.cwd(), env: variables });
  };
  return needsNoCluster(args) ? measure(provideLab(env)) : onCluster(env, measure);
});
