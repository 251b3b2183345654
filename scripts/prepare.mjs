// npm's `prepare`: builds the package after `npm install` in a clone. An installed package is already built.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { buildPackage } from "./setup/package.mjs";
import { root } from "./setup/paths.mjs";

if (existsSync(join(root, "node_modules", "typescript"))) buildPackage(process.env);
