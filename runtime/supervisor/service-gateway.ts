import type { ServiceFolders } from "./folders";
import { GatewayProcess, writeGatewaySettings } from "./gateway-process";
import type { Journal } from "./journal";
import type { PortBook } from "./port-book";
import { killMarked } from "./processes";
import type { GatewayDeclaration, GatewayState } from "./protocol";
import { type StoredService, urlOf } from "./records";

export interface ServiceGatewayContext {
  readonly name: string;
  readonly folders: ServiceFolders;
  readonly token: string;
  readonly ports: PortBook;
  readonly journal: Journal;
}

/** The gateway of a service, while one is declared: its port, its settings and its process. */
export class ServiceGateway {
  private current: GatewayProcess | null = null;

  constructor(private readonly context: ServiceGatewayContext) {}

  get process(): GatewayProcess | null {
    return this.current;
  }

  /**
   * The port that a declaration gets: the declared one, else the one that it had, unless something else has that by now.
   * @throws {RefusedError} `port-taken`
   */
  async portFor(declaration: GatewayDeclaration, known: number | null): Promise<number> {
    const { ports } = this.context;
    let port = declaration.port ?? known;
    if (port === null || !this.current?.holds(port)) {
      if (declaration.port !== null) await ports.demand(declaration.port, this.holder);
      else if (port === null || (await ports.takenBy(port, this.holder)) !== null) port = null;
    }
    if (port !== known) ports.leave(known, this.holder);
    return port ?? ports.choose(this.holder);
  }

  /** Starts it where it does not run; what it is told must be written. */
  start(port: number, declaration: GatewayDeclaration): GatewayProcess {
    const { name, folders, token, ports, journal } = this.context;
    ports.enter(port, this.holder);
    writeGatewaySettings(folders, declaration, token);
    this.current ??= new GatewayProcess(name, folders, token, port, journal);
    return this.current;
  }

  /** Starts or adjusts it, and returns once it listens. */
  async run(port: number, declaration: GatewayDeclaration): Promise<GatewayState> {
    await this.start(port, declaration).adjust(port);
    const state = this.stateOf({ port, declaration });
    if (state === null) throw new Error(`the gateway of ${this.context.name} was removed while it was started`);
    return state;
  }

  /** Gives its port up. */
  leave(port: number | null): void {
    this.context.ports.leave(port, this.holder);
  }

  /** Ends its process; fulfilled when nothing of it is left. */
  async stop(): Promise<void> {
    await this.current?.stop();
    this.current = null;
  }

  /** Ends the process that is left when an earlier supervisor was killed while it removed the gateway. */
  clear(): void {
    killMarked(this.context.folders.gateway);
  }

  /** Stops looking after its process, which goes on. */
  async detach(): Promise<void> {
    await this.current?.detach();
  }

  stateOf(stored: StoredService["gateway"]): GatewayState | null {
    if (this.current === null || stored === null) return null;
    const { port, declaration } = stored;
    return { port, url: urlOf(port), pid: this.current.pid, restarts: this.current.restarts, declaration };
  }

  private get holder(): string {
    return `gateway of ${this.context.name}`;
  }
}
