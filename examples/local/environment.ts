import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** The oldest Python that the stand-in and the pinned packages run on. */
const oldestPython = [3, 9] as const;
/** Milliseconds that pip gets to download and install about 25 MB. */
const installTimeout = 10 * 60_000;

/**
 * Makes the example's ComfyUI environment where it is missing: `ComfyUI` (the stand-in), its plugins, and `venv` with
 * numpy and Pillow from PyPI. An environment that is there is left as it is, whatever somebody has done to it.
 *
 * It is built beside its place and renamed into it, so that a folder of this name is always a complete environment: a
 * kill leaves nothing half made, and of two that build at once one wins.
 *
 * @param folder Where the environment is to be; its parent is made when missing.
 * @param say Hears what is being done, a line at a time; nothing when there is nothing to do.
 * @throws When Python cannot make virtual environments, or packages cannot be installed; the message says what helps.
 */
export function makeEnvironment(folder: string, say: (line: string) => void): void {
  const place = resolve(folder);
  removeAbandoned(place, say);
  if (existsSync(place)) return;
  requirePython();
  const draft = join(dirname(place), `${draftPrefix(place)}${process.pid}`);
  rmSync(draft, { recursive: true, force: true });
  try {
    say(`making a ComfyUI environment in ${place}`);
    copyComfyUI(draft);
    installPackages(draft, say);
    nameFinalPlace(draft, place);
    moveInto(draft, place);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

const draftPrefix = (place: string) => `.${basename(place)}-making-`;

/** Removes what killed runs left: drafts whose process is gone. Its pip may still write there for a while. */
function removeAbandoned(place: string, say: (line: string) => void): void {
  if (!existsSync(dirname(place))) return;
  for (const name of readdirSync(dirname(place))) {
    if (!name.startsWith(draftPrefix(place))) continue;
    const pid = Number(name.slice(draftPrefix(place).length));
    if (pid === process.pid || isRunning(pid)) continue;
    const draft = join(dirname(place), name);
    try {
      rmSync(draft, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    } catch (error) {
      say(`what an ended run left in ${draft} could not be removed: ${(error as Error).message}`);
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Debian and Ubuntu ship Python without what makes virtual environments. */
function requirePython(): void {
  const found = spawnSync("python3", ["-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"], {
    encoding: "utf8",
  });
  const install = "sudo apt-get install python3 python3-venv (Debian, Ubuntu), sudo dnf install python3 (Fedora)";
  if (found.error) {
    throw new Error(`the example needs Python, and python3 cannot be started (${found.error.message}): ${install}`);
  }
  if (found.status !== 0) {
    const reason = lastLines(found.stderr, 1);
    throw new Error(`python3 cannot make virtual environments (${reason}); what it lacks comes with: ${install}`);
  }
  const [major = 0, minor = 0] = found.stdout.trim().split(" ").map(Number);
  const [oldestMajor, oldestMinor] = oldestPython;
  if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
    const versions = `Python ${major}.${minor}, and the example needs ${oldestMajor}.${oldestMinor} or newer`;
    throw new Error(`python3 is ${versions}: ${install}`);
  }
}

function copyComfyUI(environment: string): void {
  const comfyui = join(environment, "ComfyUI");
  const copy = (from: string, to: string) =>
    cpSync(join(__dirname, from), to, { recursive: true, filter: (path) => basename(path) !== "__pycache__" });
  copy("stand-in", comfyui);
  copy("plugins", join(comfyui, "custom_nodes"));
  mkdirSync(join(comfyui, "models", "checkpoints"), { recursive: true });
  mkdirSync(join(environment, ".cache"), { recursive: true });
}

function installPackages(environment: string, say: (line: string) => void): void {
  const venv = join(environment, "venv");
  say("making its virtual environment");
  run("python3", ["-m", "venv", venv]);
  say("installing numpy and Pillow from PyPI");
  const quiet = ["--disable-pip-version-check", "--no-input", "--quiet", "--only-binary", ":all:"];
  const python = join(venv, "bin", "python");
  run(python, ["-m", "pip", "install", ...quiet, "--requirement", join(__dirname, "requirements.txt")]);
}

function run(command: string, parameters: readonly string[]): void {
  const ended: SpawnSyncReturns<string> = spawnSync(command, parameters, { encoding: "utf8", timeout: installTimeout });
  if (ended.status === 0) return;
  const how = ended.error?.message ?? (ended.signal ? `ended by ${ended.signal}` : `exit code ${ended.status}`);
  const said = lastLines(`${ended.stdout ?? ""}\n${ended.stderr ?? ""}`, 10);
  throw new Error(`${[command, ...parameters].join(" ")} failed (${how})${said ? `:\n${said}` : ""}`);
}

const lastLines = (text: string, count: number) => text.trim().split("\n").slice(-count).join("\n");

/** A virtual environment has its own path in its scripts and in `pyvenv.cfg`; these are to name where it will be. */
function nameFinalPlace(draft: string, place: string): void {
  const scripts = join(draft, "venv", "bin");
  const files = [join(draft, "venv", "pyvenv.cfg"), ...readdirSync(scripts).map((name) => join(scripts, name))];
  for (const file of files) {
    // Links to the interpreter lead to a binary, which has no such path in it.
    if (!statSync(file).isFile() || statSync(file).size > 1_000_000) continue;
    const text = readFileSync(file, "utf8");
    if (text.includes(draft)) writeFileSync(file, text.replaceAll(draft, place));
  }
}

function moveInto(draft: string, place: string): void {
  try {
    renameSync(draft, place);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Somebody else was faster; a complete environment is there.
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
}
