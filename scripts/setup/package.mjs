// The package itself: its dependencies and its build, each made again only when what it is made of changed.
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./paths.mjs";
import { run } from "./run.mjs";
import { say } from "./say.mjs";

const buildInputs = [
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "index.ts",
  "components",
  "providers",
  "runtime",
  "scripts/build.mjs",
];

function* filesOf(path) {
  if (statSync(path).isDirectory()) {
    for (const entry of readdirSync(path).sort()) yield* filesOf(join(path, entry));
  } else yield path;
}

function fingerprint(paths) {
  const hash = createHash("sha256");
  for (const path of paths) {
    for (const file of filesOf(join(root, path)))
      hash.update(file.slice(root.length)).update("\0").update(readFileSync(file));
  }
  return hash.digest("hex");
}

function once(stamp, inputs, work) {
  const wanted = fingerprint(inputs);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  work();
  mkdirSync(join(stamp, ".."), { recursive: true });
  writeFileSync(stamp, wanted);
}

export function installDependencies(env) {
  // Another tree's: emptying it, as `npm ci` does, would break that one.
  if (lstatSync(join(root, "node_modules"), { throwIfNoEntry: false })?.isSymbolicLink()) return;
  once(join(root, "node_modules", ".installed"), ["package-lock.json"], () => {
    say("installing the package's dependencies from npm");
    run("npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts"], { cwd: root, env });
  });
}

export function buildPackage(env) {
  once(join(root, "dist", ".built"), buildInputs, () => {
    say("building the package");
    run("node", [join(root, "scripts", "build.mjs")], { cwd: root, env });
  });
}
