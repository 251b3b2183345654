// Runs something on the cluster that KUBECONFIG names, else on the lab (test/lab), which is brought up for it and taken down again.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { bringLabUp, clusterCommand, labIsUp, labKubeconfig, provideLab, takeLabDown } from "./lab.mjs";
import { Missing, say } from "./say.mjs";

/** Of shells: 128 and the signal's number. */
const interrupted = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

/** The process that brought the lab up for what it runs; undefined where a person did. */
function ownerOf(file) {
  try {
    return Number(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("-cluster.mjs");
  } catch {
    return false;
  }
}

async function onLab(env, run) {
  const lab = provideLab(env);
  const kubeconfig = labKubeconfig(lab);
  const testing = { ...lab, KUBECONFIG: kubeconfig, TEST_LAB: clusterCommand };
  const ownership = join(dirname(kubeconfig), "owner");
  const owner = ownerOf(ownership);
  if (owner !== undefined && isAlive(owner)) {
    throw new Missing(
      `Process ${owner} uses the lab's cluster, and there is one a machine.`,
      "Wait until it has ended.",
    );
  }
  if (owner === undefined && labIsUp(lab)) {
    say("the lab's cluster is up already, and stays up");
    return run(testing);
  }
  let signalled;
  const note = (signal) => {
    signalled ??= signal;
  };
  for (const signal of Object.keys(interrupted)) process.on(signal, note);
  try {
    // An interrupted run's may be half gone.
    if (owner !== undefined) await takeLabDown(lab);
    say("bringing the lab's cluster up");
    const started = performance.now();
    const code = await bringLabUp(lab, { detached: true });
    if (code !== 0) return code;
    writeFileSync(ownership, `${process.pid}`);
    say(`the cluster is up after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    if (signalled) return interrupted[signalled];
    return await run(testing);
  } finally {
    say("taking the lab's cluster down");
    const code = await takeLabDown(lab);
    if (code !== 0) say(`that failed with exit code ${code}; again with: npm run lab -- down`);
    rmSync(ownership, { force: true });
    for (const signal of Object.keys(interrupted)) process.off(signal, note);
  }
}

/** Calls `run` with the environment variables that lead to the cluster; gives its exit code. */
export function onCluster(env, run) {
  if (!process.env.KUBECONFIG || process.env.KUBECONFIG === labKubeconfig(env)) return onLab(env, run);
  say(`on the cluster that KUBECONFIG names: ${process.env.KUBECONFIG}`);
  return run(env);
}
