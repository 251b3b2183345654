// What the test lab's cluster (test/lab/cluster) needs of the machine: Linux, root, and programs from Debian's packages.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { provideKubernetes } from "./kubernetes.mjs";
import { provideLabImages } from "./lab-images.mjs";
import { root } from "./paths.mjs";
import { foreground, outputOf, run } from "./run.mjs";
import { Missing, say } from "./say.mjs";

/** The lab's own command. */
export const clusterCommand = join(root, "test", "lab", "cluster");

/** Programs that nodes and their network are made of, and Debian's package of each. */
const programs = [
  { package: "containerd", program: "containerd" },
  { package: "runc", program: "runc" },
  { package: "containernetworking-plugins", file: "/usr/lib/cni/bridge" },
  { package: "iptables", program: "iptables" },
  { package: "conntrack", program: "conntrack" },
  { package: "iproute2", program: "ip" },
  { package: "openssl", program: "openssl" },
  { package: "curl", program: "curl" },
  { package: "procps", program: "pgrep" },
];

const isThere = ({ program, file }) =>
  file ? existsSync(file) : outputOf("sh", ["-c", `command -v ${program}`]) !== undefined;

const missingPackages = () => [...new Set(programs.filter((one) => !isThere(one)).map((one) => one.package))];

/** Why there can be no lab on this machine, whatever is installed; undefined where there can be one. */
export function labObstacle() {
  if (process.platform !== "linux") return `it needs Linux, this is ${process.platform}`;
  if (process.getuid() !== 0) return "it needs root, for containers and their network";
  return undefined;
}

function providePackages(env) {
  const missing = missingPackages();
  if (missing.length === 0) return;
  if (outputOf("apt-get", ["--version"], { env }) !== undefined) {
    say(`installing ${missing.join(", ")} from Debian, for the cluster that tests run on`);
    const unattended = { ...env, DEBIAN_FRONTEND: "noninteractive" };
    run("apt-get", ["--quiet", "--quiet", "update"], { env: unattended });
    const install = ["--quiet", "--quiet", "install", "--yes", "--no-install-recommends"];
    run("apt-get", [...install, ...missing], { env: unattended });
  }
  const still = missingPackages();
  if (still.length === 0) return;
  throw new Missing(
    `The cluster that tests run on needs what Debian has as ${still.join(", ")}.`,
    `Install it with: apt-get install ${still.join(" ")}`,
  );
}

/** Installs and builds what the lab needs; gives the environment for its command. */
export function provideLab(env) {
  const obstacle = labObstacle();
  if (obstacle) {
    throw new Missing(
      `The lab, a Kubernetes cluster without Docker, cannot run here: ${obstacle}.`,
      "Give a cluster's configuration instead: KUBECONFIG=… npm run test:cluster (kind, k3d, EKS, …)",
    );
  }
  providePackages(env);
  const folders = new Set(Object.values(provideKubernetes(env)).map((program) => dirname(program)));
  return { ...env, LAB_PROGRAMS: [...folders].join(":") };
}

/** The configuration that a client of the lab's cluster needs. */
export function labKubeconfig(env) {
  return outputOf(clusterCommand, ["kubeconfig"], { env });
}

/** Whether all of it runs. */
export function labIsUp(env) {
  // Not by all that runs: nodes come and go, and tests stop what they want to see come back.
  return outputOf(clusterCommand, ["status", "etcd"], { env }) !== undefined;
}

/**
 * Brings the cluster up, with the images that tests use on its nodes; gives 0, or the exit code of what failed. A program that a
 * signal of the terminal must not end in the middle runs in a group of its own.
 */
export async function bringLabUp(env, options = {}) {
  const images = provideLabImages(env);
  const how = { env, stdio: ["ignore", 2, 2], ...options };
  const commands = [["up"], ...Object.entries(images).map(([name, archive]) => ["image", name, archive])];
  for (const command of commands) {
    const code = await foreground(clusterCommand, command, how);
    if (code !== 0) return code;
  }
  return 0;
}

/** Takes all of it down, also what is half up. */
export function takeLabDown(env) {
  return foreground(clusterCommand, ["down"], { env, stdio: ["ignore", 2, 2], detached: true });
}
