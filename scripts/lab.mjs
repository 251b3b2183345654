// npm run lab -- up | node add … | down: the cluster that tests run on, by hand. Without arguments it prints its manual.
import { delimiter } from "node:path";
import { bringLabUp, clusterCommand, provideLab } from "./setup/lab.mjs";
import { provideNode } from "./setup/node.mjs";
import { foreground } from "./setup/run.mjs";
import { main } from "./setup/say.mjs";

await main(async () => {
  const args = process.argv.slice(2);
  if (args[0] !== "up") return foreground(clusterCommand, args, { env: process.env });
  const env = provideLab({ ...process.env, PATH: [provideNode(), process.env.PATH].join(delimiter) });
  const code = await bringLabUp(env);
  return code === 0 ? foreground(clusterCommand, ["kubeconfig"], { env }) : code;
});
