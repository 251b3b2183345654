import { WebSocket } from "ws";
import { UnansweredError } from "./ask";
import type { Instance } from "./instance";

/** Milliseconds for the connection and its upgrade. */
const handshakeTimeout = 10_000;
/** Milliseconds for an instance to take part in closing; then the connection is cut. */
const closeTimeout = 5_000;
const firstRetry = 200;
const longestRetry = 3_000;
/** Nodes may send whole pictures as one frame. */
const largestFrame = 512 * 2 ** 20;

export interface UpstreamSocketOptions {
  readonly clientId: string;
  /** What the client announced as its features, or null. */
  readonly features: () => string | null;
  /** Resolves when an earlier socket of this client to this instance is closed: two of them break each other. */
  readonly after: Promise<void>;
  readonly onText: (text: string) => void;
  readonly onBinary: (data: Buffer) => void;
}

/** A client's connection to one instance. It is made anew whenever it breaks, until it is closed. */
export class UpstreamSocket {
  private socket: WebSocket | null = null;
  private announced: string | null = null;
  private statusSeen = false;
  private closing: Promise<void> | null = null;
  private retry: NodeJS.Timeout | null = null;
  private retryDelay = firstRetry;
  private readonly waiters = new Set<{ resolve: () => void; reject: (error: Error) => void }>();

  constructor(
    readonly instance: Instance,
    private readonly options: UpstreamSocketOptions,
  ) {
    void options.after.then(() => this.connect());
  }

  /** Whether the instance sends this client's messages here: its first status has come. */
  get isReady(): boolean {
    return this.statusSeen;
  }

  /** Resolves once it is ready; fails with an UnansweredError at the first failed attempt, or after the milliseconds. */
  ready(milliseconds: number): Promise<void> {
    if (this.statusSeen) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
      };
      const waiter = {
        resolve: () => {
          end();
          resolve();
        },
        reject: (error: Error) => {
          end();
          reject(error);
        },
      };
      const timer = setTimeout(
        () => waiter.reject(new UnansweredError(this.instance.id, false, `no status on /ws for ${milliseconds} ms`)),
        milliseconds,
      );
      this.waiters.add(waiter);
    });
  }

  /** Announces the client's features: as the first message, which is the only one that counts; else on a new connection. */
  announce(features: string): void {
    if (this.socket?.readyState !== WebSocket.OPEN || this.announced === features) return;
    if (this.announced === null) this.sendFeatures(this.socket, features);
    else this.socket.close(1000);
  }

  send(text: string): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  /** Closes the connection; resolves when the instance has no socket of this client any more. */
  close(): Promise<void> {
    this.closing ??= this.closeOnce();
    return this.closing;
  }

  private async closeOnce(): Promise<void> {
    if (this.retry !== null) clearTimeout(this.retry);
    this.fail("it was closed");
    await this.options.after;
    const { socket } = this;
    if (socket === null || socket.readyState === WebSocket.CLOSED) return;
    await new Promise<void>((resolve) => {
      const cut = setTimeout(() => socket.terminate(), closeTimeout);
      socket.once("close", () => {
        clearTimeout(cut);
        resolve();
      });
      socket.close(1000);
    });
  }

  private connect(): void {
    if (this.closing !== null) return;
    const { clientId, onText, onBinary, features } = this.options;
    const url = new URL(`/ws?${new URLSearchParams({ clientId })}`, this.instance.url);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout, maxPayload: largestFrame });
    this.socket = socket;
    this.announced = null;
    let reason = "it was closed by the instance";
    socket.on("open", () => {
      const text = features();
      if (text !== null) this.sendFeatures(socket, text);
    });
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      if (isBinary) return onBinary(data);
      const text = data.toString("utf8");
      // Nothing but a status comes first, so the message itself need not be read for this.
      const first = !this.statusSeen;
      this.statusSeen = true;
      this.retryDelay = firstRetry;
      onText(text);
      if (first) for (const waiter of [...this.waiters]) waiter.resolve();
    });
    socket.on("error", (error) => {
      reason = error.message;
    });
    socket.on("close", () => {
      this.statusSeen = false;
      this.fail(reason);
      if (this.closing !== null) return;
      this.retry = setTimeout(() => this.connect(), this.retryDelay);
      this.retryDelay = Math.min(this.retryDelay * 2, longestRetry);
    });
  }

  private sendFeatures(socket: WebSocket, text: string): void {
    this.announced = text;
    socket.send(text);
  }

  private fail(reason: string): void {
    for (const waiter of [...this.waiters]) {
      waiter.reject(new UnansweredError(this.instance.id, false, `its /ws: ${reason}`));
    }
  }
}
