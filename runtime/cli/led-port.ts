import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { pause } from "../bell";
import { type Cluster, forwardTo, podOf, reasonOf, statusOf, type WayIn } from "../kubernetes";
import { InvalidInputError } from "../problems";

/** Milliseconds that a connection waits for a pod: as long as one is replaced by the next. */
const podPatience = 60_000;
const podInterval = 500;

/** A port of this machine that leads to pods. */
export interface LedPort {
  readonly port: number;
  /** Ends it, and every connection through it. */
  readonly close: () => void;
}

/**
 * Leads from a port of the loopback interface to the pods of a service or workstation: each connection to the one that is there when it begins.
 *
 * @param port one that is free where it is left open
 * @param remark told once of each thing that keeps connections from getting there
 */
export async function leadToPods(
  cluster: Cluster,
  way: WayIn,
  { port, remark, signal }: Leading & { readonly port?: number | undefined },
): Promise<LedPort> {
  const told = new Set<string>();
  const remarkOnce = (text: string) => {
    if (!told.has(text)) remark(text);
    told.add(text);
  };
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // Until it is joined: a client may go at any time.
    socket.on("error", () => undefined);
    lead(cluster, way, socket, remarkOnce, signal).catch((error) => {
      if (!signal.aborted) remarkOnce(`${way.kind} ${way.name} was not reached: ${reasonOf(error)}`);
      socket.destroy();
    });
  });
  return {
    port: await listen(server, port),
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface Leading {
  readonly remark: (text: string) => void;
  readonly signal: AbortSignal;
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
