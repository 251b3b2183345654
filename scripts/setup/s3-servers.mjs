// Two S3 servers that the tests of the store run against, built from pinned Go modules.

import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { provideGo } from "./go.mjs";
import { cache, root } from "./paths.mjs";
import { run } from "./run.mjs";
import { say } from "./say.mjs";

const sources = join(root, "scripts", "toolchain", "s3");
const programs = { versitygw: "github.com/versity/versitygw/cmd/versitygw", minio: "github.com/minio/minio" };

function folderOf(name) {
  const hash = createHash("sha256");
  for (const file of readdirSync(join(sources, name)).sort()) hash.update(readFileSync(join(sources, name, file)));
  return join(cache, `${name}-${hash.digest("hex").slice(0, 16)}`);
}

/** Where a server's program is, or is to be once {@link provideS3Servers} has run. */
export function programOf(name) {
  return join(folderOf(name), name);
}

/** Builds the servers that are not there yet. */
export function provideS3Servers(env) {
  const missing = Object.keys(programs).filter((name) => !existsSync(programOf(name)));
  if (missing.length === 0) return;
  const withGo = provideGo(env, `The tests of the store build the S3 servers ${missing.join(" and ")}, which needs`);
  say(
    `building ${missing.join(" and ")} from Go modules, for the tests of the store (once; about ten minutes on two cores)`,
  );
  for (const name of missing) build(name, withGo);
}

/** The folder gets its name when the program is complete, so a killed build is never used. */
function build(name, env) {
  const scratch = mkdtempSync(join(tmpdir(), "pulumi-comfyui-s3-"));
  const target = `${folderOf(name)}.${process.pid}`;
  mkdirSync(target, { recursive: true });
  try {
    cpSync(join(sources, name), scratch, { recursive: true });
    say(`  ${name} ...`);
    run("go", ["build", "-ldflags", "-s -w", "-o", join(target, name), programs[name]], {
      cwd: scratch,
      env: { ...env, CGO_ENABLED: "0", GOWORK: "off", GOFLAGS: "-mod=mod -buildvcs=false" },
    });
    if (!existsSync(programOf(name))) renameSync(target, folderOf(name));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    rmSync(target, { recursive: true, force: true });
  }
}
