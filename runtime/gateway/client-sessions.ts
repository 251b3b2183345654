import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import type { Visitor } from "./access";
import { ClientSession, type SessionParts } from "./client-session";
import { clientKey } from "./exchange";
import type { PromptEntry } from "./prompt-ledger";

/** Milliseconds between pings: proxies with an idle limit commonly cut after 60 s, and ComfyUI sends none. */
const pingInterval = 20_000;
/** Clients send small messages only. */
const largestMessage = 16 * 2 ** 20;
/** Milliseconds for clients to take part in closing. */
const closeTimeout = 2_000;

/** The WebSockets of clients, `/ws`: one session for each client id. */
export class ClientSessions {
  private readonly server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: largestMessage,
  });
  private readonly sessions = new Map<string, ClientSession>();
  private readonly pings: NodeJS.Timeout;

  constructor(private readonly parts: SessionParts) {
    this.pings = setInterval(() => {
      for (const session of this.sessions.values()) session.ping();
    }, pingInterval);
    this.pings.unref();
  }

  get openSockets(): number {
    return [...this.sessions.values()].reduce((sum, { openSockets }) => sum + openSockets, 0);
  }

  /** The session of a client that listens. */
  get(clientId: string): ClientSession | undefined {
    const session = this.sessions.get(clientId);
    return session?.isOpen ? session : undefined;
  }

  /** Answers an upgrade. @param clients what else the client is known by. */
  accept(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    query: URLSearchParams,
    clients: readonly string[],
    visitor: Visitor,
  ): void {
    // As ComfyUI does for a client that does not choose its id.
    const clientId = query.get("clientId") || randomUUID().replaceAll("-", "");
    this.server.handleUpgrade(request, socket, head, (client) => {
      let session = this.sessions.get(clientId);
      if (session === undefined) {
        session = new ClientSession(clientId, this.parts, () => this.sessions.delete(clientId));
        this.sessions.set(clientId, session);
      }
      session.attach(client, [clientKey(clientId), ...clients], visitor.release);
    });
  }

  /** Adapts all connections to changed targets. */
  refresh(): void {
    for (const session of this.sessions.values()) session.refresh();
  }

  promptEnded(entry: PromptEntry): void {
    if (entry.clientId !== null) this.sessions.get(entry.clientId)?.promptEnded(entry);
  }

  /** Sends messages of the gateway's own about a prompt to its client. */
  tell({ clientId }: PromptEntry, messages: readonly string[]): void {
    if (clientId !== null) this.sessions.get(clientId)?.tell(messages);
  }

  /** Closes every socket with 1012, service restart, so that clients come back. */
  async close(): Promise<void> {
    clearInterval(this.pings);
    const sessions = [...this.sessions.values()];
    const cut = setTimeout(() => {
      for (const session of sessions) session.terminate();
    }, closeTimeout);
    await Promise.all(sessions.map((session) => session.close(1012, "the gateway restarts")));
    clearTimeout(cut);
    this.server.close();
  }
}
