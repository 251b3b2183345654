// The programs of the test lab's cluster (test/lab), built from pinned Go modules.

import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { provideGo } from "./go.mjs";
import { cache, root } from "./paths.mjs";
import { run } from "./run.mjs";
import { say } from "./say.mjs";

const sources = join(root, "scripts", "toolchain", "kubernetes");

/** Where Go puts the version that a component tells of itself. */
const version = "k8s.io/component-base/version";

/** Programs by the module that they are built from. */
const modules = {
  components: [
    { program: "kube", package: ".", tags: "osusergo,selinux_disabled", link: (release) => versionFlags(release) },
    { program: "pause", package: "./pause", tags: "", link: () => "" },
  ],
  dns: [{ program: "coredns", package: ".", tags: "", link: () => "" }],
};

function versionFlags(release) {
  const [major, minor] = release.slice(1).split(".");
  return `-X ${version}.gitVersion=${release} -X ${version}.gitMajor=${major} -X ${version}.gitMinor=${minor}`;
}

function folderOf(module) {
  const hash = createHash("sha256");
  const files = readdirSync(join(sources, module), { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  for (const path of files.map((entry) => join(entry.parentPath, entry.name)).sort()) hash.update(readFileSync(path));
  return join(cache, `kubernetes-${module}-${hash.digest("hex").slice(0, 16)}`);
}

/** Where a program is once it is built. */
export function programPath(name) {
  const module = Object.keys(modules).find((key) => modules[key].some(({ program }) => program === name));
  return join(folderOf(module), name);
}

const isBuilt = (module) => modules[module].every(({ program }) => existsSync(join(folderOf(module), program)));

/** Builds what is not there yet; gives the paths of the programs by name. */
export function provideKubernetes(env) {
  const missing = Object.keys(modules).filter((module) => !isBuilt(module));
  if (missing.length > 0) {
    const withGo = provideGo(env, "The cluster that tests run on is built from Go modules, which needs");
    say("building Kubernetes from Go modules, for the tests on a cluster (once; about ten minutes on two cores)");
    for (const module of missing) build(module, withGo);
  }
  return Object.fromEntries(
    Object.entries(modules).flatMap(([module, programs]) =>
      programs.map(({ program }) => [program, join(folderOf(module), program)]),
    ),
  );
}

/** The folder gets its name when all its programs are complete, so a killed build is never used. */
function build(module, env) {
  const scratch = mkdtempSync(join(tmpdir(), "pulumi-comfyui-kubernetes-"));
  const target = `${folderOf(module)}.${process.pid}`;
  mkdirSync(target, { recursive: true });
  try {
    cpSync(join(sources, module), scratch, { recursive: true });
    const release = /k8s\.io\/kubernetes (v\S+)/.exec(readFileSync(join(scratch, "go.mod"), "utf8"))?.[1];
    for (const { program, package: name, tags, link } of modules[module]) {
      say(`  ${program} ...`);
      const flags = ["-tags", tags, "-ldflags", `-s -w ${link(release)}`, "-o", join(target, program)];
      run("go", ["build", ...flags, name], {
        cwd: scratch,
        env: { ...env, CGO_ENABLED: "0", GOWORK: "off", GOFLAGS: "-mod=mod -buildvcs=false" },
      });
    }
    if (!isBuilt(module)) renameSync(target, folderOf(module));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    rmSync(target, { recursive: true, force: true });
  }
}
