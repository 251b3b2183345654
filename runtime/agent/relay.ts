import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Milliseconds that ComfyUI gets to end a connection whose client has gone. */
const lingering = 30_000;

export interface Relayed {
  readonly port: number;
  /** Address that it listens at; all of the pod when undefined. */
  readonly host: string | undefined;
  /** Where it leads, on the loopback interface. */
  readonly to: number;
  /** What somebody is told who comes while nothing answers there. */
  readonly absence: () => string;
}

/**
 * The way into a workstation: passes bytes on to ComfyUI, and knows when somebody last sent any. An open page that nobody uses sends
 * nothing.
 */
export class Relay {
  #lastActivity = performance.now();
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  private constructor(private readonly relayed: Relayed) {
    // A client that has sent its request may end its half and wait for the answer.
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#pass(client));
  }

  static async start(relayed: Relayed): Promise<Relay> {
    const relay = new Relay(relayed);
    const { port, host } = relayed;
    relay.#server.listen(host === undefined ? { port } : { port, host });
    await once(relay.#server, "listening");
    return relay;
  }

  /** When somebody last connected or sent anything, on the clock of `performance.now()`. */
  get lastActivity(): number {
    return this.#lastActivity;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #pass(client: Socket): void {
    this.#lastActivity = performance.now();
    const comfyui = connect({ port: this.relayed.to, host: "127.0.0.1", allowHalfOpen: true });
    let connected = false;
    for (const socket of [client, comfyui]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 30_000);
      socket.once("close", () => this.#sockets.delete(socket));
    }
    client.on("data", () => {
      this.#lastActivity = performance.now();
    });
    client.on("error", () => comfyui.destroy());
    client.once("close", () => {
      // Nobody takes what still comes.
      comfyui.resume();
      comfyui.end();
      comfyui.setTimeout(lingering, () => comfyui.destroy());
    });
    comfyui.once("connect", () => {
      connected = true;
    });
    comfyui.on("error", () => {
      if (connected) client.destroy();
      else this.#refuse(client);
    });
    client.pipe(comfyui);
    comfyui.pipe(client, { end: false });
    comfyui.once("end", () => client.end());
  }

  /** As a server in ComfyUI's place would. */
  #refuse(client: Socket): void {
    const text = `${this.relayed.absence()}\n`;
    const head = [
      "HTTP/1.1 503 Service Unavailable",
      "content-type: text/plain; charset=utf-8",
      `content-length: ${Buffer.byteLength(text)}`,
      "retry-after: 5",
      "connection: close",
    ];
    client.end(`${head.join("\r\n")}\r\n\r\n${text}`);
    // What it still sends is of no use, and left unread it would have the answer lost.
    client.resume();
  }
}
