import { untilAborted } from "../bell";
import {
  allWaysIn,
  type Cluster,
  type ClusterAddress,
  clusterName,
  type WayIn,
  wakeWorkstation,
  waysIn,
} from "../kubernetes";
import { InvalidInputError } from "../problems";
import { openBrowser } from "./browser";
import { connectTo } from "./cluster-connection";
import { type ExitCode, exitCodes } from "./exit-codes";
import { leadToPods } from "./led-port";
import type { Output } from "./output";
import type { Surroundings } from "./surroundings";

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
  const remark = (text: string) => output.remark(text);
  const led = await leadToPods(cluster, way, { port, remark, signal });
  try {
    const url = `http://127.0.0.1:${led.port}`;
    output.result({ kind: way.kind, name: way.name, url, silent: null }, () => url);
    if (browser) await openBrowser(url, environment);
    await untilAborted(signal);
    return exitCodes.done;
  } finally {
    led.close();
  }
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
