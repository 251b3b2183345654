// The images that pods of the lab run, made of what is on this machine: its Node.js and its /usr/bin/python3.

import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cache, root } from "./paths.mjs";
import { outputOf, run } from "./run.mjs";
import { Missing, say } from "./say.mjs";

const writer = join(root, "test", "lab", "image.py");
// Not the one on PATH: virtual environments name their interpreter by path, and this path is the same in an image.
const python = "/usr/bin/python3";

/** What a person, a probe or a test runs in a container; `sh` and GNU's core utilities. */
const utilities =
  "sh cat chmod chown cp date dd df du echo env false head id kill ln ls mkdir mktemp mv rm rmdir sha256sum sleep stat sync tail tee test touch tr true wc".split(
    " ",
  );

const images = {
  "localhost/pulumi-comfyui/node:test": (folder, env) => copyProgram(folder, programOn("node", env), "/usr/bin/node"),
  "localhost/pulumi-comfyui/comfyui:test": (folder, env) => {
    copyPython(folder);
    // Of what compiled packages from PyPI expect of a system, the C++ library is one that this machine's Node.js needs as well.
    copyLibraries(folder, programOn("node", env));
  },
};

function programOn(name, env) {
  const path = outputOf("sh", ["-c", `command -v ${name}`], { env });
  return path?.startsWith("/") ? realpathSync(path) : undefined;
}

function fingerprint(env) {
  const hash = createHash("sha256");
  for (const file of [fileURLToPath(import.meta.url), writer]) hash.update(readFileSync(file));
  for (const program of [programOn("node", env), realpathSync(python)]) {
    const { size, mtimeMs } = statSync(program);
    hash.update(`${program} ${size} ${mtimeMs}\n`);
  }
  return hash.digest("hex").slice(0, 16);
}

/** Makes what is not there yet; gives archives by the name of their image. */
export function provideLabImages(env) {
  if (!existsSync(python)) {
    throw new Missing(
      `The image that tests run ComfyUI in is made of ${python}, which is not there.`,
      "Install it with: apt-get install python3 python3-venv",
    );
  }
  const folder = join(cache, `lab-images-${fingerprint(env)}`);
  const archives = Object.fromEntries(
    Object.keys(images).map((name) => [name, join(folder, `${basename(name.replace(":", "-"))}.tar`)]),
  );
  if (!existsSync(folder)) {
    say("making the images that pods of the lab run, of this machine's Node.js and Python");
    const target = `${folder}.${process.pid}`;
    mkdirSync(target, { recursive: true });
    try {
      for (const [name, fill] of Object.entries(images))
        makeImage(name, fill, join(target, basename(archives[name])), env);
      if (!existsSync(folder)) renameSync(target, folder);
    } finally {
      rmSync(target, { recursive: true, force: true });
    }
  }
  return archives;
}

function makeImage(name, fill, archive, env) {
  const folder = mkdtempSync(join(tmpdir(), "pulumi-comfyui-image-"));
  try {
    makeBase(folder);
    fill(folder, env);
    run(python, [writer, name, folder, archive], { env });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Folders as Debian has them, users, and the utilities. */
function makeBase(folder) {
  chmodSync(folder, 0o755);
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    mkdirSync(join(folder, "usr", name), { recursive: true });
    symlinkSync(`usr/${name}`, join(folder, name));
  }
  for (const name of ["etc", "proc", "sys", "dev", "run", "var", "root", "home/user", "tmp"])
    mkdirSync(join(folder, name), { recursive: true });
  for (const name of ["tmp", "home/user"]) chmodSync(join(folder, name), 0o1777);
  writeFileSync(
    join(folder, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
  );
  writeFileSync(join(folder, "etc/group"), "root:x:0:\nuser:x:1000:\n");
  writeFileSync(join(folder, "etc/nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n");
  for (const name of utilities) {
    const path = ["/usr/bin", "/bin"].map((place) => join(place, name)).find((candidate) => existsSync(candidate));
    if (!path) throw new Error(`${name} is in neither /usr/bin nor /bin`);
    copyProgram(folder, path, `/usr/bin/${name}`);
  }
}

function copyPython(folder) {
  const interpreter = realpathSync(python);
  copyProgram(folder, interpreter, interpreter);
  symlinkSync(basename(interpreter), join(folder, python));
  symlinkSync(basename(interpreter), join(folder, "/usr/bin/python"));
  const [library, modules] = outputOf(python, [
    ...["-I", "-c"],
    "import sysconfig, glob; print(sysconfig.get_path('stdlib')); print(*glob.glob(sysconfig.get_config_var('DESTSHARED') + '/*.so'), sep='|')",
  ]).split("\n");
  const left = new Set([
    "__pycache__",
    "site-packages",
    "dist-packages",
    "test",
    "idlelib",
    "tkinter",
    "ensurepip",
    "lib2to3",
  ]);
  cpSync(library, join(folder, library), {
    recursive: true,
    dereference: true,
    filter: (source) => !left.has(basename(source)) && !basename(source).startsWith("config-") && existsSync(source),
  });
  for (const module of modules.split("|")) copyLibraries(folder, module);
}

/** Copies a program to a path of the image, and the libraries that it loads to where they are here. */
function copyProgram(folder, program, path) {
  place(folder, program, path);
  copyLibraries(folder, program);
}

function copyLibraries(folder, program) {
  for (const line of (outputOf("ldd", [program]) ?? "").split("\n")) {
    const library = /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1];
    if (library) place(folder, library, library);
  }
}

function place(folder, file, path) {
  const target = join(folder, path);
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(realpathSync(file), target);
}
