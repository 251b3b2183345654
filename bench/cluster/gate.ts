import { spawn } from "node:child_process";
import { join } from "node:path";
import { podSettings } from "../../providers/declarations/pod";
import { type Owner, recordRelease, withEvent, withRelease } from "../../runtime/deployment";
import type { GatewayStatus } from "../../runtime/gateway/targets";
import { connectCluster, objectNames, ServiceRecords } from "../../runtime/kubernetes";
import type { KubernetesApi } from "../../runtime/kubernetes/api";
import { ApiServer } from "../../test/support/api-server";
import type { Results } from "../metrics";
import { type CountedRequest, CountingProxy } from "./counting-proxy";
import type { GateCall, GateUse } from "./gate-call";
import type { ClusterMetricId } from "./goals";
import { ManyPods } from "./many-pods";
import { mostWithin } from "./timeline";

const count = 200;
const namespace = "default";
const service = "studio";
const owner: Owner = { organization: "organization", project: "bench", stack: "cluster" };
/** Milliseconds in which the pods start, finish their work, and go. */
const durations = { start: 75_000, drain: 45_000, end: 15_000 };

const settings = podSettings({ image: "registry.example.com/studio/comfyui:cu124" }, {});

/** Lets a gate wait for 200 pods, then drains them, on an API server alone; counts what both ask of it. */
export async function measureGate(results: Results<ClusterMetricId>, say: (line: string) => void): Promise<void> {
  const server = await ApiServer.start();
  try {
    const kubeconfig = server.kubeconfig("admin");
    const records = new ServiceRecords(await connectCluster({ kubeconfig, namespace }), service);
    const release = await recordOf(records);
    const pods = new ManyPods({ api: server.api, namespace, service, release, count });
    await pods.declare();
    const call = { namespace, service, release, deployment: pods.deployment, count, settings };
    const proving = await counted("gate", kubeconfig, call, () => pods.start(durations.start));
    report(results, "gate.proving", proving, say);
    await serve(records, release);
    const draining = await counted("drain", kubeconfig, call, async () => {
      await finishWork(server.api, records, pods, release);
      await pods.end(durations.end);
    });
    report(results, "gate.draining", draining, say);
  } finally {
    await server.stop();
  }
}

interface Counted {
  readonly use: GateUse;
  readonly requests: readonly CountedRequest[];
}

/** Runs the gate or the drain while something happens in the cluster. */
async function counted(
  task: "gate" | "drain",
  kubeconfig: string,
  call: Omit<GateCall, "kubeconfig">,
  happen: () => Promise<void>,
): Promise<Counted> {
  const proxy = await CountingProxy.before(kubeconfig);
  try {
    const given: GateCall = { ...call, kubeconfig: proxy.kubeconfig };
    const [use] = await Promise.all([runTask(task, given), happen()]);
    return { use, requests: proxy.requests };
  } finally {
    proxy.close();
  }
}

async function runTask(task: string, call: GateCall): Promise<GateUse> {
  const program = join(process.env.BENCH_SCRIPTS ?? "", "gate-main.cjs");
  const child = spawn(process.execPath, [program, task, JSON.stringify(call)], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((ended, failed) => child.once("error", failed).once("close", ended));
  if (code !== 0) throw new Error(`the ${task} ended with ${code}: ${stderr.slice(0, 2000)}`);
  return JSON.parse(stdout);
}

function report(
  results: Results<ClusterMetricId>,
  id: "gate.proving" | "gate.draining",
  { use, requests }: Counted,
  say: (line: string) => void,
): void {
  const kinds = new Map<string, number>();
  for (const { what } of requests) kinds.set(what, (kinds.get(what) ?? 0) + 1);
  const bytes = requests.reduce((total, request) => total + request.bytes, 0);
  const times = requests.map(({ at }) => at);
  const busiest = mostWithin(10_000, times) / 10;
  const { seconds, cpuSeconds, peakBytes, messages, longest } = use;
  const byKind = [...kinds].sort(([, one], [, other]) => other - one);
  const note = [
    `${requests.length} requests, ${(bytes / 1e6).toFixed(1)} MB in ${seconds.toFixed(1)} s; in the busiest 10 s ${busiest.toFixed(1)} a second`,
    `CPU ${cpuSeconds.toFixed(2)} s, ${Math.round(peakBytes / 1e6)} MB; ${messages} messages of up to ${longest} characters`,
  ].join("; ");
  say(`  ${id}: ${note}`);
  say(`  ${byKind.map(([what, times]) => `${what} ${times}`).join(", ")}`);
  results.value(id, [requests.length / seconds, busiest], note, {
    requests: [requests.length],
    bytes: [bytes],
    seconds: [seconds],
    "CPU seconds": [cpuSeconds],
    "peak bytes": [peakBytes],
    messages: [messages],
    ...Object.fromEntries(byKind.map(([what, times]) => [what, [times]])),
  });
}

async function recordOf(records: ServiceRecords): Promise<string> {
  const hour = 3_600_000;
  await records.claim(owner, { drain: { deadline: hour, onDeadline: "keep" } }, false);
  const health = { startTimeout: hour, stableFor: 0, smoke: null, smokeTimeout: hour, acceptFailing: [] };
  const spec = {
    snapshot: `s3://bucket/snapshots#sha256:${"0".repeat(64)}`,
    pod: settings,
    models: null,
    arguments: [],
    environmentVariables: {},
    health,
  };
  let id = "";
  await records.change((record) => {
    const { service: changed, release } = recordRelease(record, owner, spec, new Date().toISOString());
    ({ id } = release);
    return withRelease(changed, { ...withEvent(release, "started", new Date().toISOString()), count, confirmed: true });
  });
  return id;
}

async function serve(records: ServiceRecords, release: string): Promise<void> {
  await records.change((record) => {
    const known = record.releases.find(({ id }) => id === release);
    if (known === undefined) throw new Error(`the record has no release ${release}`);
    return withRelease(record, withEvent(known, "serving", new Date().toISOString()));
  });
}

/** What the leading gateway tells while the instances finish their work: once a second at the most. */
async function finishWork(api: KubernetesApi, records: ServiceRecords, pods: ManyPods, release: string): Promise<void> {
  const name = objectNames(service).gatewayStatus;
  const collection = `/api/v1/namespaces/${namespace}/configmaps`;
  const prefix = `${objectNames(service).release(release)}-`;
  const began = performance.now();
  for (let round = 0; ; round++) {
    const share = (performance.now() - began) / durations.drain;
    const { generation } = await records.target();
    const status: GatewayStatus = {
      protocol: 1,
      pid: 1,
      generation,
      serving: null,
      openSockets: 0,
      instances: pods.names.map((pod, index) => {
        const drained = share >= (index + 1) / count;
        const queueRemaining = drained ? 0 : 1 + ((index + round) % 3);
        return {
          id: `${release}/${pod.slice(prefix.length)}`,
          state: "draining",
          inFlight: 0,
          queueRemaining,
          drained,
        };
      }),
    };
    const body = { metadata: { name }, data: { "status.json": JSON.stringify(status) } };
    if (round === 0) await api.request({ method: "POST", path: collection, body });
    else await api.request({ method: "PUT", path: `${collection}/${name}`, body });
    if (share >= 1) return;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}
