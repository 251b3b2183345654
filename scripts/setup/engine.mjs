// The Pulumi CLI: the one on PATH, else npm's wrapper where that can download, else built from pinned Go modules.

import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { provideGo } from "./go.mjs";
import { cache, root } from "./paths.mjs";
import { outputOf, run } from "./run.mjs";
import { say } from "./say.mjs";

/** The oldest engine that this is tested with. */
const oldest = [3, 200];
const wrapper = "3.265.0";

const sources = join(root, "scripts", "toolchain");

function isUsable(version) {
  const [major, minor] = (version ?? "").replace(/^v/, "").split(".").map(Number);
  return major > oldest[0] || (major === oldest[0] && minor >= oldest[1]);
}

function pulumiOn(path, env) {
  return outputOf("pulumi", ["version"], { env: { ...env, PATH: path, PULUMI_SKIP_UPDATE_CHECK: "true" } });
}

/** The folders that have to be on PATH for `pulumi`, and whether it is one that was built here. */
export function provideEngine(env) {
  const version = pulumiOn(env.PATH, env);
  if (isUsable(version)) return { folders: [], built: false };
  if (version) say(`pulumi ${version} on PATH is older than ${oldest.join(".")} and is not used`);
  if (isBuilt()) return { folders: [built()], built: true };
  const downloaded = download(env);
  if (downloaded) return { folders: [downloaded], built: false };
  build(env);
  return { folders: [built()], built: true };
}

/** Lets npm's `pulumi` fetch the CLI; gives the folder of its command, or undefined where it cannot be fetched. */
function download(env) {
  const folder = join(cache, `pulumi-wrapper-${wrapper}`);
  const bin = join(folder, "node_modules", ".bin");
  const path = [bin, env.PATH].join(delimiter);
  if (!existsSync(join(bin, "pulumi"))) {
    say(`no pulumi on PATH: trying npm's wrapper ${wrapper}, which downloads it`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
    run("npm", ["install", "--no-audit", "--no-fund", "--save-exact", `pulumi@${wrapper}`], { cwd: folder, env });
  }
  if (isUsable(pulumiOn(path, env))) return bin;
  say("npm's wrapper could not download pulumi on this machine");
  return undefined;
}

function fingerprint() {
  const hash = createHash("sha256");
  for (const part of ["engine", "host"]) {
    for (const file of readdirSync(join(sources, part)).sort()) hash.update(readFileSync(join(sources, part, file)));
  }
  return hash.digest("hex").slice(0, 16);
}

const built = () => join(cache, `pulumi-${fingerprint()}`);
const isBuilt = () => existsSync(join(built(), "pulumi")) && existsSync(join(built(), "pulumi-language-nodejs"));

/** Builds CLI and language host. The folder gets its name when both are there, so a killed build is never used. */
function build(env) {
  const withGo = provideGo(
    env,
    "Pulumi is needed: it is not on PATH, npm's wrapper could not download it (or: curl -fsSL https://get.pulumi.com | sh), and building it needs",
  );
  const scratch = mkdtempSync(join(tmpdir(), "pulumi-comfyui-engine-"));
  const target = `${built()}.${process.pid}`;
  mkdirSync(target, { recursive: true });
  try {
    const engine = readFileSync(join(sources, "engine", "go.mod"), "utf8");
    const version = /github\.com\/pulumi\/pulumi\/pkg\/v3 (v\S+)/.exec(engine)?.[1];
    say(
      `building pulumi ${version} and its Node.js language host from Go modules (once; about five minutes on two cores)`,
    );
    const link = `-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=${version}`;
    const programs = [
      [
        "engine",
        "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        "pulumi",
        ["-tags", "osusergo,grpcnotrace", "-ldflags", link],
      ],
      [
        "host",
        "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs",
        "pulumi-language-nodejs",
        ["-ldflags", "-s -w"],
      ],
    ];
    for (const [part, name, output, flags] of programs) {
      cpSync(join(sources, part), join(scratch, part), { recursive: true });
      say(`  ${output} ...`);
      run("go", ["build", ...flags, "-o", join(target, output), name], {
        cwd: join(scratch, part),
        env: { ...withGo, CGO_ENABLED: "0", GOWORK: "off", GOFLAGS: "-mod=mod -buildvcs=false" },
      });
    }
    if (!isBuilt()) renameSync(target, built());
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    rmSync(target, { recursive: true, force: true });
  }
}
