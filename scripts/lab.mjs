// npm run lab -- up | node add … | down: the cluster that tests run on, by hand. Without arguments it prints its manual.
import { clusterCommand, provideLab } from "./setup/lab.mjs";
import { foreground } from "./setup/run.mjs";
import { main } from "./setup/say.mjs";

await main(() => foreground(clusterCommand, process.argv.slice(2), { env: provideLab(process.env) }));
