import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { Allowance } from "./allowance";

/** Where time comes from, and how it is waited for. */
export interface Clock {
  /** Milliseconds. */
  readonly now: () => number;
  readonly after: (milliseconds: number, done: () => void) => void;
}

const steadyClock: Clock = {
  now: () => performance.now(),
  after: (milliseconds, done) => void setTimeout(done, milliseconds),
};

export interface ProxyOptions {
  readonly target: { readonly host: string; readonly port: number };
  /** For each connection, in either direction; infinity limits nothing. */
  readonly bytesPerSecond: number;
  /** @default the system's */
  readonly clock?: Clock;
}

/** What passed through a proxy. */
export interface Passed {
  /** Connections that were ever open at the same time. */
  readonly mostConnections: number;
  /** Bytes from clients to the server, and the other way. */
  readonly up: number;
  readonly down: number;
}

/**
 * Stands between a client and a server of this machine and lets each connection pass a limited number of bytes a second
 * in either direction, as an object store's front end does.
 */
export class ThrottlingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #passed = { mostConnections: 0, up: 0, down: 0 };
  #open = 0;

  private constructor({ target, bytesPerSecond, clock = steadyClock }: ProxyOptions) {
    this.#server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (client) => {
      const server = connect({ ...target, allowHalfOpen: true, noDelay: true });
      this.#open += 1;
      this.#passed.mostConnections = Math.max(this.#passed.mostConnections, this.#open);
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
      const count = (direction: "up" | "down") => (bytes: number) => {
        this.#passed[direction] += bytes;
      };
      pass(client, server, new Limit(bytesPerSecond, clock, count("up")));
      pass(server, client, new Limit(bytesPerSecond, clock, count("down")));
    });
  }

  /** Listens on a port that the system chooses, on the loopback interface. */
  static async start(options: ProxyOptions): Promise<ThrottlingProxy> {
    const proxy = new ThrottlingProxy(options);
    await new Promise<void>((listening, failed) => {
      proxy.#server.once("error", failed);
      proxy.#server.listen(0, "127.0.0.1", listening);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Since the start. */
  get passed(): Passed {
    return { ...this.#passed };
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((closed) => this.#server.close(() => closed()));
  }
}

/** The limit of one direction of a connection. */
class Limit {
  readonly #allowance: Allowance;

  constructor(
    bytesPerSecond: number,
    private readonly clock: Clock,
    private readonly count: (bytes: number) => void,
  ) {
    this.#allowance = new Allowance(bytesPerSecond, clock.now());
  }

  /** Notes bytes; calls `resumed` when more may pass and answers true, or answers false where more may pass at once. */
  holds(bytes: number, resumed: () => void): boolean {
    this.count(bytes);
    const wait = this.#allowance.take(bytes, this.clock.now());
    if (wait === 0) return false;
    this.clock.after(wait, () => {
      this.#allowance.resume(this.clock.now());
      resumed();
    });
    return true;
  }
}

/** Passes on what comes; no more is read while the other side is full or the limit holds. */
function pass(from: Socket, to: Socket, limit: Limit): void {
  let holds = 0;
  const resume = () => {
    holds -= 1;
    if (holds === 0) from.resume();
  };
  from.on("data", (chunk) => {
    if (!to.write(chunk)) {
      holds += 1;
      to.once("drain", resume);
    }
    if (limit.holds(chunk.length, resume)) holds += 1;
    if (holds > 0) from.pause();
  });
  from.on("end", () => to.end());
  from.resume();
}
