// A Node.js that is new enough: this one, or a pinned one from npm.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cache } from "./paths.mjs";
import { outputOf, run } from "./run.mjs";
import { Missing, say } from "./say.mjs";

/** Built-in zstd came with 22.15; @pulumi/pulumi itself wants 22. */
const needed = [22, 15];
const pinned = "24.21.0";

export function isNewEnough(version) {
  const [major, minor] = version.replace(/^v/, "").split(".").map(Number);
  return major > needed[0] || (major === needed[0] && minor >= needed[1]);
}

/** The folder that holds a `node` new enough. */
export function provideNode() {
  if (isNewEnough(process.version)) return dirname(process.execPath);
  // npm's `node` package would fetch this one in an install script, which npm may not allow; the binary's own package has none.
  const name = `node-${process.platform}-${process.arch}`;
  const folder = join(cache, `node-${pinned}`);
  const bin = join(folder, "node_modules", name, "bin");
  if (outputOf(join(bin, "node"), ["--version"]) !== `v${pinned}`) {
    say(`Node.js ${process.version} is older than ${needed.join(".")}: installing ${pinned} from npm into ${folder}`);
    mkdirSync(folder, { recursive: true });
    if (!existsSync(join(folder, "package.json"))) writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
    try {
      run("npm", ["install", "--no-audit", "--no-fund", "--save-exact", `${name}@${pinned}`], { cwd: folder });
    } catch (error) {
      throw new Missing(
        `Node.js ${needed.join(".")} or newer is needed, this is ${process.version}, and npm could not install one (${error.message}).`,
        `Install Node.js ${needed.join(".")} or newer, for example with: nvm install 24`,
      );
    }
  }
  return bin;
}
