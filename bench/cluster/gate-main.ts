// The gate, or the drain, in a process of its own, so that its processor time is its own. Arguments: `gate` or `drain`, and what it is
// about as JSON (`GateCall`). Prints what it took as JSON.
import { connectCluster, drainRelease, ServiceRecords, untilProven } from "../../runtime/kubernetes";
import type { GateCall, GateUse } from "./gate-call";

async function main(): Promise<void> {
  const [, , task = "", given = "{}"] = process.argv;
  const { kubeconfig, namespace, service, release, deployment, count, settings } = JSON.parse(given) as GateCall;
  const records = new ServiceRecords(await connectCluster({ kubeconfig, namespace }), service);
  const signal = new AbortController().signal;
  let messages = 0;
  let longest = 0;
  const progress = (message: string) => {
    messages++;
    longest = Math.max(longest, message.length);
  };
  const cpu = process.cpuUsage();
  const began = performance.now();
  if (task === "gate") {
    const warn = progress;
    await untilProven(records, { release, deployment, count, settings, timeout: 300_000, progress, warn, signal });
  } else {
    await drainRelease(records, { release, progress, signal, assertEngine: async () => undefined });
  }
  const { user, system } = process.cpuUsage(cpu);
  const use: GateUse = {
    seconds: (performance.now() - began) / 1000,
    cpuSeconds: (user + system) / 1e6,
    peakBytes: process.resourceUsage().maxRSS * 1024,
    messages,
    longest,
  };
  process.stdout.write(`${JSON.stringify(use)}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
