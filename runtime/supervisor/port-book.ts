import { holderOf } from "./port-holder";
import { freePort, isFree, loopback } from "./ports";
import { RefusedError } from "./refusal";

/** Which ports belong to what this supervisor looks after, also while nothing listens there. */
export class PortBook {
  private readonly holders = new Map<number, string>();

  /** A port that nothing holds, entered for the holder. */
  async choose(holder: string): Promise<number> {
    for (;;) {
      const port = await freePort();
      if (this.holders.has(port)) continue;
      this.holders.set(port, holder);
      return port;
    }
  }

  /** Enters a port that was chosen or declared before. */
  enter(port: number, holder: string): void {
    this.holders.set(port, holder);
  }

  leave(port: number | null, holder: string): void {
    if (port !== null && this.holders.get(port) === holder) this.holders.delete(port);
  }

  /** Who holds a port, or null when the holder may have it. */
  async takenBy(port: number, holder: string): Promise<string | null> {
    const other = this.holders.get(port);
    if (other !== undefined && other !== holder) return other;
    return (await isFree(port)) ? null : holderOf(port);
  }

  /** @throws {RefusedError} `port-taken` */
  async demand(port: number, holder: string): Promise<void> {
    const other = await this.takenBy(port, holder);
    if (other !== null) throw portTaken(port, holder, other);
  }
}

function portTaken(port: number, holder: string, other: string): RefusedError {
  return new RefusedError(
    "port-taken",
    `the port ${port} of ${loopback}, declared for the ${holder}, is held by ${other}; declare another, or end what holds it`,
    { port, holder: other },
  );
}
