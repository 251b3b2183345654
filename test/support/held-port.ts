import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** A port in front of another one, which lets nothing through while it is held: what goes through it then takes as long as a test wants. */
export class HeldPort {
  private readonly sockets = new Set<Socket>();
  private readonly waiting = new Set<Socket>();
  private holds = false;

  private constructor(
    private readonly server: Server,
    private readonly target: URL,
  ) {}

  /** At `address`, one of this machine. */
  static async before(endpoint: string, address: string): Promise<HeldPort> {
    const server = createServer({ pauseOnConnect: true });
    const port = new HeldPort(server, new URL(endpoint));
    server.on("connection", (client) => port.take(client));
    server.listen(0, address);
    await once(server, "listening");
    return port;
  }

  get endpoint(): string {
    const bound = this.server.address();
    if (typeof bound !== "object" || bound === null) throw new Error("it listens no more");
    return `http://${bound.address}:${bound.port}`;
  }

  /** Whether somebody waits to be let through. */
  get isAsked(): boolean {
    return this.waiting.size > 0;
  }

  hold(): void {
    this.holds = true;
  }

  release(): void {
    this.holds = false;
    for (const client of this.waiting) this.join(client);
    this.waiting.clear();
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  private take(client: Socket): void {
    this.sockets.add(client);
    client.on("error", () => {});
    client.on("close", () => {
      this.sockets.delete(client);
      this.waiting.delete(client);
    });
    if (this.holds) this.waiting.add(client);
    else this.join(client);
  }

  private join(client: Socket): void {
    const upstream = connect(Number(this.target.port), this.target.hostname);
    this.sockets.add(upstream);
    upstream.on("error", () => client.destroy());
    upstream.on("close", () => {
      this.sockets.delete(upstream);
      client.destroy();
    });
    client.on("close", () => upstream.destroy());
    client.pipe(upstream);
    upstream.pipe(client);
  }
}
