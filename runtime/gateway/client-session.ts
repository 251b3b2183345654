import { WebSocket } from "ws";
import type { Affinity } from "./affinity";
import { clientKey } from "./exchange";
import type { Fleet } from "./fleet";
import type { Instance } from "./instance";
import type { PromptEntry, PromptLedger } from "./prompt-ledger";
import type { ResultStore } from "./result-store";
import { chooseInstance } from "./routing";
import { isFeatureFlags, relayText, statusWithId } from "./socket-relay";
import { UpstreamSocket } from "./upstream-socket";

/** Milliseconds for which upstream connections outlive the client's, for one that comes straight back. */
const returnGrace = 5_000;
/** Milliseconds for the last messages of a prompt that is known to have ended by other means than its socket. */
const lastMessageGrace = 5_000;
/** A client that takes its messages too slowly loses previews beyond this many bytes, and its socket beyond that many. */
const mostBufferedForPreviews = 8 * 2 ** 20;
const mostBuffered = 64 * 2 ** 20;

export interface SessionParts {
  readonly fleet: Fleet;
  readonly affinity: Affinity;
  readonly ledger: PromptLedger;
  readonly results: ResultStore;
  /** Called when an instance has sent its last message about a prompt. */
  readonly onLastMessage: (entry: PromptEntry, instance: Instance) => void;
}

/**
 * One client's messages: its socket on one side; on the other a connection to the instance that its new prompts go to, and
 * to each that still has a prompt of it.
 */
export class ClientSession {
  /** The newest gets the messages, as with ComfyUI; when it closes, the one before it does. */
  private readonly sockets: WebSocket[] = [];
  private readonly upstreams = new Map<Instance, UpstreamSocket>();
  /** Connections that are being closed: the next one to the same instance waits for them. */
  private readonly closures = new Map<Instance, Promise<void>>();
  /** Prompts whose last message has come. */
  private readonly finished = new Set<string>();
  private primary: Instance | null = null;
  private wanted: Instance | null = null;
  private features: string | null = null;
  private featuresAnswer: string | null = null;
  private featuresAwaited = false;
  private lastStatus: string | null = null;
  private lastExecuting: string | null = null;
  private graceTimer: NodeJS.Timeout | null = null;
  private clients: readonly string[] = [];
  private release: string | null = null;

  constructor(
    private readonly clientId: string,
    private readonly parts: SessionParts,
    private readonly onEmpty: () => void,
  ) {}

  /** Whether a client listens. */
  get isOpen(): boolean {
    return this.sockets.length > 0;
  }

  /**
   * Takes over a client's socket.
   * @param clients affinity keys of the client. @param release the deployer's choice, or null for the serving one.
   */
  attach(socket: WebSocket, clients: readonly string[], release: string | null): void {
    if (this.graceTimer !== null) clearTimeout(this.graceTimer);
    this.graceTimer = null;
    this.clients = clients;
    this.release = release;
    this.sockets.push(socket);
    this.featuresAwaited = false;
    let first = true;
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      const text = isBinary ? null : data.toString("utf8");
      if (text !== null && first && isFeatureFlags(text)) this.announce(text);
      else if (text !== null && this.primary !== null) this.upstreams.get(this.primary)?.send(text);
      first = false;
    });
    socket.on("error", () => socket.terminate());
    socket.on("close", () => this.detach(socket));
    // A connection that is already there sends no first status again.
    if (this.primary !== null && this.lastStatus !== null) {
      this.sendText(statusWithId(this.lastStatus, this.clientId));
      if (this.lastExecuting !== null) this.sendText(this.lastExecuting);
    }
    this.refresh();
  }

  /** Connects to what the client needs now, and closes what it does not. */
  refresh(): void {
    if (!this.isOpen) return;
    const { fleet, affinity, ledger } = this.parts;
    if (this.primary !== null && !this.primary.present) this.primary = null;
    if (this.wanted !== null && !this.wanted.present) this.wanted = null;
    const chosen = chooseInstance({
      instances: fleet.all(),
      release: this.release ?? fleet.serving,
      preferred: affinity.find(this.clients) ?? this.wanted?.id,
    });
    if (chosen !== null) {
      if (this.release === null) affinity.remember(this.clients, chosen.id);
      this.wanted = chosen;
      if (this.upstream(chosen).isReady) this.primary = chosen;
    }
    for (const { clientId, instance } of ledger.all()) {
      const known = fleet.get(instance.id);
      if (clientId === this.clientId && known?.epoch === instance.epoch) this.upstream(known);
    }
    for (const instance of this.upstreams.keys()) this.closeIfUnneeded(instance);
  }

  /** Makes sure that the instance's messages for this client arrive, before it gets a prompt. Throws an UnansweredError. */
  async connect(instance: Instance, milliseconds: number): Promise<void> {
    await this.upstream(instance).ready(milliseconds);
    // The prompt may be on another instance than the client so far, because that one could not be reached.
    this.refresh();
  }

  /** Notes that a prompt of this client ended. */
  promptEnded(entry: PromptEntry): void {
    this.finished.delete(entry.id);
    setTimeout(() => this.refresh(), lastMessageGrace).unref();
  }

  /** Sends messages of the gateway's own, which end a prompt. */
  tell(messages: readonly string[]): void {
    this.lastExecuting = null;
    for (const message of messages) this.sendText(message);
    this.refresh();
  }

  private sendText(text: string): void {
    const socket = this.sockets.at(-1);
    if (socket === undefined) return;
    if (socket.bufferedAmount > mostBuffered) socket.terminate();
    else socket.send(text);
  }

  /** Closes the client's sockets and every connection behind them. */
  async close(code: number, reason: string): Promise<void> {
    for (const socket of [...this.sockets]) socket.close(code, reason);
    await this.closeUpstreams();
  }

  terminate(): void {
    for (const socket of [...this.sockets]) socket.terminate();
  }

  ping(): void {
    // No answer is demanded: a script that computes between two reads answers late, and ComfyUI would not mind.
    for (const socket of this.sockets) if (socket.readyState === WebSocket.OPEN) socket.ping();
  }

  get openSockets(): number {
    return this.sockets.length;
  }

  private upstream(instance: Instance): UpstreamSocket {
    const known = this.upstreams.get(instance);
    if (known !== undefined) return known;
    const upstream = new UpstreamSocket(instance, {
      clientId: this.clientId,
      features: () => this.features,
      after: this.closures.get(instance) ?? Promise.resolve(),
      onText: (text) => this.receive(instance, text),
      onBinary: (data) => this.sendBinary(data),
    });
    this.upstreams.set(instance, upstream);
    return upstream;
  }

  private receive(instance: Instance, text: string): void {
    // The new primary takes over with its first status, so that there is no time without one.
    if (instance === this.wanted && this.primary !== instance) {
      const previous = this.primary;
      this.primary = instance;
      if (previous !== null) this.closeIfUnneeded(previous);
    }
    const relay = relayText(text, {
      instance: instance.id,
      primary: instance === this.primary,
      owns: (promptId) => this.owns(promptId),
    });
    switch (relay.kind) {
      case "status":
        if (instance !== this.primary) return;
        this.lastStatus = relay.text;
        this.sendText(relay.text);
        return;
      case "features":
        this.featuresAnswer = relay.text;
        if (!this.featuresAwaited) return;
        this.featuresAwaited = false;
        this.sendText(relay.text);
        return;
      case "pass":
        if (relay.isExecuting) this.lastExecuting = relay.ended === null ? relay.text : null;
        this.sendText(relay.text);
        if (relay.ended !== null) this.noteLastMessage(relay.ended, instance);
        return;
      case "drop":
        return;
    }
  }

  private noteLastMessage(promptId: string, instance: Instance): void {
    const entry = this.parts.ledger.get(promptId);
    if (entry !== undefined) {
      if (entry.state !== "ended") this.finished.add(promptId);
      this.parts.onLastMessage(entry, instance);
    }
    this.closeIfUnneeded(instance);
  }

  private announce(text: string): void {
    const same = this.features === text;
    this.features = text;
    if (same && this.featuresAnswer !== null) {
      this.sendText(this.featuresAnswer);
      return;
    }
    this.featuresAwaited = true;
    for (const upstream of this.upstreams.values()) upstream.announce(text);
  }

  private owns(promptId: string): boolean {
    const { ledger, results } = this.parts;
    return (
      ledger.get(promptId)?.clientId === this.clientId ||
      results.get(promptId)?.clients.includes(clientKey(this.clientId)) === true
    );
  }

  private closeIfUnneeded(instance: Instance): void {
    if (instance === this.primary || instance === this.wanted) return;
    const needed = this.parts.ledger
      .heldBy(instance)
      .some(({ id, clientId, state }) => clientId === this.clientId && state !== "ended" && !this.finished.has(id));
    if (!needed) void this.closeUpstream(instance);
  }

  private closeUpstream(instance: Instance): Promise<void> {
    const upstream = this.upstreams.get(instance);
    if (upstream === undefined) return this.closures.get(instance) ?? Promise.resolve();
    this.upstreams.delete(instance);
    const closure = upstream.close().then(() => {
      if (this.closures.get(instance) === closure) this.closures.delete(instance);
    });
    this.closures.set(instance, closure);
    return closure;
  }

  private async closeUpstreams(): Promise<void> {
    for (const instance of this.upstreams.keys()) void this.closeUpstream(instance);
    await Promise.all(this.closures.values());
  }

  private detach(socket: WebSocket): void {
    const index = this.sockets.indexOf(socket);
    if (index >= 0) this.sockets.splice(index, 1);
    if (this.isOpen) return;
    this.graceTimer = setTimeout(() => void this.end(), returnGrace);
    this.graceTimer.unref();
  }

  private async end(): Promise<void> {
    this.graceTimer = null;
    this.primary = null;
    this.wanted = null;
    this.lastStatus = null;
    this.lastExecuting = null;
    this.features = null;
    this.featuresAnswer = null;
    await this.closeUpstreams();
    if (!this.isOpen && this.graceTimer === null) this.onEmpty();
  }

  private sendBinary(data: Buffer): void {
    const socket = this.sockets.at(-1);
    if (socket !== undefined && socket.bufferedAmount < mostBufferedForPreviews) socket.send(data, { binary: true });
  }
}
