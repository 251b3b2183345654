import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/**
 * Stands between a client and a server of this machine and lets each connection pass a limited number of bytes a second
 * in either direction, as an object store's front end does.
 */
export class ThrottlingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Connections that were ever open at the same time. */
  mostConnections = 0;
  #open = 0;

  private constructor(target: { readonly host: string; readonly port: number }, bytesPerSecond: number) {
    this.#server = createServer({ pauseOnConnect: true, noDelay: true }, (client) => {
      const server = connect({ ...target, noDelay: true });
      this.#open += 1;
      this.mostConnections = Math.max(this.mostConnections, this.#open);
      const end = () => {
        client.destroy();
        server.destroy();
      };
      for (const socket of [client, server]) {
        this.#sockets.add(socket);
        socket.on("error", end);
        socket.on("close", () => {
          this.#sockets.delete(socket);
          end();
        });
      }
      client.on("close", () => {
        this.#open -= 1;
      });
      pass(client, server, bytesPerSecond);
      pass(server, client, bytesPerSecond);
    });
  }

  /** Listens on a port that the system chooses, on the loopback interface. */
  static async start(target: { readonly host: string; readonly port: number }, bytesPerSecond: number) {
    const proxy = new ThrottlingProxy(target, bytesPerSecond);
    await new Promise<void>((listening, failed) => {
      proxy.#server.once("error", failed);
      proxy.#server.listen(0, "127.0.0.1", listening);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((closed) => this.#server.close(() => closed()));
  }
}

/** Seconds of the rate that may pass at once, so that timers' coarseness costs nothing. */
const burst = 0.02;

/** A token bucket: what passed above the rate is waited for before more is read. */
function pass(from: Socket, to: Socket, bytesPerSecond: number): void {
  let allowance = burst * bytesPerSecond;
  let at = performance.now();
  let held = 0;
  const resume = () => {
    held -= 1;
    if (held === 0) from.resume();
  };
  const hold = (until: (resumed: () => void) => void) => {
    held += 1;
    from.pause();
    until(resume);
  };
  from.on("data", (chunk) => {
    const now = performance.now();
    allowance = Math.min(burst * bytesPerSecond, allowance + ((now - at) / 1000) * bytesPerSecond) - chunk.length;
    at = now;
    if (!to.write(chunk)) hold((resumed) => to.once("drain", resumed));
    if (allowance < 0) hold((resumed) => setTimeout(resumed, (-allowance / bytesPerSecond) * 1000));
  });
  from.on("end", () => to.end());
  from.resume();
}
