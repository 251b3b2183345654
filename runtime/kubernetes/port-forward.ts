import type { RequestOptions } from "node:https";
import type { Socket } from "node:net";
import WebSocket from "ws";
import type { Cluster } from "./connection";

/** Of the API server's port-forward through WebSockets: a byte for the channel before each message. */
const protocol = "v4.channel.k8s.io";
const channels = { data: 0, error: 1 } as const;
/** Bytes on their way into the cluster after which the client waits, and at which it goes on. */
const mostBuffered = 4 * 2 ** 20;
/** Milliseconds for the API server and the kubelet to open the way. */
const openTimeout = 15_000;

/**
 * Joins a connection to a port of a pod, until either side ends it. The client library's own way holds all of an upload in memory, and may end
 * this process's own streams.
 *
 * @throws when the way cannot be opened
 */
export async function forwardTo(
  { config, namespace }: Cluster,
  { pod, port }: { readonly pod: string; readonly port: number },
  client: Socket,
  problem: (message: string) => void,
): Promise<void> {
  const server = config.getCurrentCluster()?.server ?? "";
  const path = `/api/v1/namespaces/${namespace}/pods/${encodeURIComponent(pod)}/portforward?ports=${port}`;
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const { headers, ca, cert, key, pfx, passphrase, rejectUnauthorized, servername, agent, auth } = options;
  const tls = definedOf({ ca, cert, key, pfx, passphrase, rejectUnauthorized, servername, agent, auth });
  const socket = new WebSocket(`${server.replace(/^http/, "ws").replace(/\/$/, "")}${path}`, [protocol], {
    ...(tls as WebSocket.ClientOptions),
    headers: headers as Record<string, string>,
    handshakeTimeout: openTimeout,
    perMessageDeflate: false,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
    client.once("close", () => reject(new Error("the client has gone")));
  });
  join(socket, client, problem);
}

function definedOf(values: object): object {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function join(socket: WebSocket, client: Socket, problem: (message: string) => void): void {
  /** Channels whose first message, the port's number, has come. */
  const begun = new Set<number>();
  socket.on("message", (data: Buffer) => {
    const channel = data[0] ?? 0;
    if (!begun.has(channel)) {
      begun.add(channel);
      return;
    }
    const content = data.subarray(1);
    if (channel === channels.error) {
      problem(content.toString("utf8").trim());
      client.destroy();
    } else if (channel === channels.data && !client.write(content)) {
      socket.pause();
      client.once("drain", () => socket.resume());
    }
  });
  socket.on("error", (error) => problem(error.message));
  socket.once("close", () => client.end());
  client.on("data", (data: Buffer) => {
    socket.send(Buffer.concat([Buffer.of(channels.data), data]), () => {
      if (client.isPaused() && socket.bufferedAmount < mostBuffered) client.resume();
    });
    if (socket.bufferedAmount >= mostBuffered) client.pause();
  });
  client.once("end", () => socket.close());
  client.on("error", () => socket.terminate());
  client.once("close", () => socket.close());
  client.resume();
}
