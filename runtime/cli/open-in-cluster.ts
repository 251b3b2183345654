import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { pause, untilAborted } from "../bell";
import {
  allWaysIn,
  type Cluster,
  type ClusterAddress,
  clusterName,
  forwardTo,
  podOf,
  reasonOf,
  statusOf,
  type WayIn,
  wakeWorkstation,
  waysIn,
} from "../kubernetes";
import { InvalidInputError } from "../problems";
import { openBrowser } from "./browser";
import { connectTo } from "./cluster-connection";
import { type ExitCode, exitCodes } from "./exit-codes";
import type { Output } from "./output";
import type { Surroundings } from "./surroundings";

/** Milliseconds that a connection waits for a pod: as long as one is replaced by the next. */
const podPatience = 60_000;
const podInterval = 500;

export interface OpenInCluster {
  readonly address: ClusterAddress;
  readonly name: string | undefined;
  readonly kind: WayIn["kind"] | undefined;
  /** Of this machine; one that is free where it is left open. */
  readonly port: number | undefined;
  readonly browser: boolean;
}

/** Leads from a port of this machine to a service or workstation until the person ends it. A workstation that has stopped itself is started. */
export async function openInCluster(
  { address, name, kind, port, browser }: OpenInCluster,
  output: Output,
  { environment, signal }: Pick<Surroundings, "environment" | "signal">,
): Promise<ExitCode> {
  const cluster = await connectTo(address, { progress: output.progress, signal });
  const way = await choose(cluster, name, kind);
  if (way.kind === "workstation") {
    const stopped = await wakeWorkstation(cluster, way.name, { progress: output.progress, signal });
    if (stopped !== null) {
      output.remark(`workstation ${way.name}: ${stopped}`);
      return exitCodes.no;
    }
  }
  const told = new Set<string>();
  const remark = (text: string) => {
    if (!told.has(text)) output.remark(text);
    told.add(text);
  };
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // Until it is joined: a client may go at any time.
    socket.on("error", () => undefined);
    lead(cluster, way, socket, remark, signal).catch((error) => {
      if (!signal.aborted) remark(`${way.kind} ${way.name} was not reached: ${reasonOf(error)}`);
      socket.destroy();
    });
  });
  try {
    const url = `http://127.0.0.1:${await listen(server, port)}`;
    output.result({ kind: way.kind, name: way.name, url, silent: null }, () => url);
    if (browser) await openBrowser(url, environment);
    await untilAborted(signal);
    return exitCodes.done;
  } finally {
    server.close();
    for (const socket of sockets) socket.destroy();
  }
}

/** Joins a connection to the pod that is there now: after a rotation, or a restart, that is another one. */
async function lead(
  cluster: Cluster,
  way: WayIn,
  socket: Socket,
  remark: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const end = performance.now() + podPatience;
  while (!signal.aborted && !socket.destroyed) {
    const pod = await podOf(cluster, way);
    if (pod !== null && (await isLedTo(cluster, pod, way, socket, remark))) return;
    if (performance.now() >= end || (await hasStopped(cluster, way))) break;
    await pause(podInterval, signal);
  }
  if (!signal.aborted && !socket.destroyed) {
    remark(
      `${way.kind} ${way.name} has no pod that runs${way.kind === "workstation" ? ": it has stopped; run open again" : ""}`,
    );
  }
  socket.destroy();
}

/** False where the pod has gone since it was looked for. */
async function isLedTo(
  cluster: Cluster,
  pod: string,
  { port }: WayIn,
  socket: Socket,
  remark: (text: string) => void,
): Promise<boolean> {
  try {
    await forwardTo(cluster, { pod, port }, socket, remark);
    return true;
  } catch (error) {
    if (statusOf(error) === 404) return false;
    throw error;
  }
}

/** A page that is still open somewhere does not start a workstation again: only a person does. */
async function hasStopped({ apps, namespace }: Cluster, way: WayIn): Promise<boolean> {
  if (way.kind === "service") return false;
  const { spec } = await apps.readNamespacedDeployment({ name: `${way.name}-workstation`, namespace });
  return spec?.replicas === 0;
}

async function choose(cluster: Cluster, name: string | undefined, kind: WayIn["kind"] | undefined): Promise<WayIn> {
  const all = (await allWaysIn(cluster)).filter((way) => kind === undefined || way.kind === kind);
  const known = all.map((way) => `${way.kind} ${way.name}`).join(", ") || "nothing";
  const place = `the namespace ${cluster.namespace} of ${clusterName(cluster)}`;
  const services = all.filter((way) => way.kind === "service");
  const [only] = services.length > 0 ? services : all;
  const wanted = name ?? ((services.length > 0 ? services : all).length === 1 ? only?.name : undefined);
  const [way] =
    wanted === undefined
      ? []
      : (await waysIn(cluster, wanted)).filter((one) => kind === undefined || one.kind === kind);
  if (way !== undefined) return way;
  const reason =
    wanted === undefined && all.length > 1
      ? `say which one to open; ${place} has ${known}`
      : `there is nothing of that name to open in ${place}, which has ${known}`;
  throw new InvalidInputError([{ path: "NAME", reason }]);
}

async function listen(server: Server, port: number | undefined): Promise<number> {
  server.listen(port ?? 0, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    throw new InvalidInputError([{ path: "--port", reason: `${port} is taken by another program on this machine` }]);
  }
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
