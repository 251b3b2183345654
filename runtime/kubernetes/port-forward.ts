import type { IncomingMessage } from "node:http";
import type { RequestOptions } from "node:https";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import WebSocket from "ws";
import type { Cluster } from "./connection";

/** Of the API server's port-forward through WebSockets: a byte for the channel before each message. */
const protocol = "v4.channel.k8s.io";
const channels = { data: 0, error: 1 } as const;
/** Bytes on their way into the cluster after which the client waits, and at which it goes on. */
const mostBuffered = 4 * 2 ** 20;
/** Milliseconds for the API server and the kubelet to open the way. */
const openTimeout = 15_000;
/** Milliseconds for the API server to answer that the way is closed. */
const closeTimeout = 2_000;

/**
 * Joins a connection to a port of a pod, until either side ends it; does nothing for a client that has gone. The client library's own way holds
 * all of an upload in memory, and may end this process's own streams.
 *
 * @throws when the way cannot be opened: with the API server's refusal, as its other answers, where there is one
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
    ...({ ...tls, closeTimeout } as WebSocket.ClientOptions),
    headers: headers as Record<string, string>,
    handshakeTimeout: openTimeout,
    perMessageDeflate: false,
  });
  // One that is given up tells of it, too.
  socket.on("error", () => undefined);
  const giveUp = () => socket.terminate();
  client.once("close", giveUp);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("open", () => {
        // At once: the first messages may have come with the answer, and are told before a promise goes on.
        if (client.destroyed) socket.terminate();
        else join(socket, client, problem);
        resolve();
      });
      socket.once("error", reject);
      socket.once("unexpected-response", (_, response) => refusal(response).then(reject, reject));
    });
  } catch (error) {
    socket.terminate();
    if (!client.destroyed) throw error;
  } finally {
    client.off("close", giveUp);
  }
}

/** As the client library throws what the API server refuses. */
async function refusal(response: IncomingMessage): Promise<Error> {
  const { statusCode: code } = response;
  const body = await text(response);
  return Object.assign(new Error(`the API server answered ${code}`), { code, body });
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
    if (client.destroyed) return;
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
  client.once("close", () => {
    // What still comes is nobody's, but the answer to the closing is behind it.
    socket.resume();
    socket.close();
  });
  client.resume();
}
