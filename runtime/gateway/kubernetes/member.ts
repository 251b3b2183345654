import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { KubernetesApi } from "../../kubernetes/api";
import type { WatchPace } from "../../kubernetes/watched-objects";
import { sendError, sendJson } from "../answers";
import { originForm } from "../exchange";
import { urlOf } from "../gateway";
import { type Handler, Listener, type Shutdown } from "../listener";
import type { Log } from "../log";
import { notLeadingHeader, refuseNotLeading } from "../not-leading";
import { deployerTokenHeader } from "../targets";
import { defaultTimeouts } from "../timeouts";
import { ClusterView, labels } from "./cluster-view";
import { type Consultation, Election, type LeaseTimes } from "./election";
import { Followers } from "./followers";
import { hopHeader } from "./forwarded-headers";
import { Forwarder, type ForwarderOptions } from "./forwarding";
import { type Identity, identityText } from "./identity";
import { Leadership } from "./leadership";
import { PeerError, Peers } from "./peer";
import { SocketForwarder } from "./socket-forwarding";
import { SpoolCopy } from "./spool-copy";
import { answerFollower } from "./spool-routes";

/** Milliseconds for a holder to say whether it leads. */
const consultTimeout = 2_000;
/** Milliseconds for which a holder's port has to be closed before it counts as dead: one that starts anew closes it, too. */
const longestRefusal = 1_000;
/** Milliseconds without being allowed to lead after which a leader gives up what it has open. */
const longestLapse = 10_000;
/** Milliseconds since a leader's last answer for which this gateway is of use to clients. */
const fresh = 6_000;
/** Milliseconds of each step of handing over. */
const handover = { requests: 12_000, keeping: 5_000, copying: 5_000, successor: 10_000 };
/** Milliseconds between two looks at who leads. */
const lookInterval = 500;
/**
 * Milliseconds from the signal to stop for which new connections are still taken: so long it takes until nobody is sent here
 * any more. Load balancers that send to pods themselves take longer than a cluster's nodes, and are reckoned with by who starts the gateway.
 */
const usualFarewell = 5_000;

export interface MemberOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly service: string;
  readonly identity: Identity;
  /** The same for all gateways of a service, at their pods' addresses. */
  readonly port: number;
  /** Address to listen at. Default: all. */
  readonly host?: string;
  /** For the spool, or the copy of the leader's. */
  readonly folder: string;
  readonly log: Log;
  /** Milliseconds for which a request is held while nobody leads. Default 10 s. */
  readonly holdTimeout?: number;
  readonly times?: LeaseTimes;
  readonly pace?: WatchPace;
  /** Milliseconds for which connections are still taken after {@link Member.close}. Default 5 s. */
  readonly farewell?: number;
  /** Milliseconds for which a connection without a request is kept. Default 75 s. */
  readonly keepAliveTimeout?: number;
  /** Default: 3 s of grace, 30 s in all. */
  readonly shutdown?: Shutdown;
}

/** One of the gateways of a service in a cluster: it leads, or forwards to the one that does. Its port is open all the time. */
export class Member implements Handler {
  private readonly view: ClusterView;
  private readonly election: Election;
  private readonly followers = new Followers();
  private readonly peers: Peers;
  private readonly forwarder: Forwarder;
  private readonly sockets: SocketForwarder;
  private readonly listener: Listener;
  private copy: SpoolCopy;
  private leadership: Leadership | null = null;
  private roles: Promise<void> = Promise.resolve();
  private readonly roleWaiters = new Set<() => void>();
  private changing = new Set<Promise<void>>();
  private refusedSince: number | null = null;
  /** Since when this gateway holds the Lease and may not lead. */
  private idleSince: number | null = null;
  private lapses: NodeJS.Timeout | null = null;
  private port: number;
  private stopping = false;
  private handingOver = false;

  constructor(private readonly options: MemberOptions) {
    const { api, namespace, service, identity, log, times, pace } = options;
    this.port = options.port;
    this.view = new ClusterView({ api, namespace, service, log, ...(pace === undefined ? {} : { pace }) });
    this.peers = new Peers({ port: () => this.port, token: () => this.view.deployerToken });
    this.copy = this.newCopy();
    this.election = new Election({
      api,
      namespace,
      name: `${service}-gateway`,
      labels: { ...labels(service, "gateway"), "app.kubernetes.io/managed-by": "pulumi-comfyui" },
      identity,
      ...(times === undefined ? {} : { times }),
      ...(pace === undefined ? {} : { pace }),
      peersAgree: () => this.followers.agree(),
      consult: (holder) => this.consult(holder),
      sinceFollowed: (holder) => this.copy.sinceAnswered(holder),
      prepared: () => this.copy.complete,
      onChange: () => this.onRoleChange(),
      log,
    });
    const forwarding: ForwarderOptions = {
      me: identityText(identity),
      port: () => this.port,
      waitForLeader: (deadline, signal) => this.waitForLeader(deadline, signal),
      onUnreachable: () => this.election.suspect(),
      maximumBodySize: () => this.maximumBodySize(),
      holdTimeout: options.holdTimeout ?? 10_000,
      log,
    };
    this.forwarder = new Forwarder(forwarding);
    this.sockets = new SocketForwarder(this.forwarder, forwarding);
    const { keepAliveTimeout } = options;
    this.listener = new Listener(this, {
      headersTimeout: defaultTimeouts.head,
      ...(keepAliveTimeout === undefined ? {} : { keepAliveTimeout }),
      log,
    });
  }

  /** Returns the URL once it listens. Fails without usable settings, or when the port is taken. */
  async start(): Promise<string> {
    const { host = "0.0.0.0", port, log } = this.options;
    await this.view.start();
    this.port = await this.listener.listen(port, host);
    this.copy.start();
    this.election.start();
    this.lapses = setInterval(() => this.noteLapse(), lookInterval);
    const url = urlOf(host, this.port);
    log(`listening on ${url}`);
    return url;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.url = originForm(request.url ?? "/");
    const [path = "/"] = request.url.split("?");
    if (path === "/_gateway/ready") return this.answerReady(response);
    const forwarded = request.headers[hopHeader] !== undefined;
    try {
      if (/^\/_gateway\/(leading$|spool(\/|$))/.test(path)) return await this.answerPeer(path, request, response);
      const leadership = this.leads() ? this.leadership : null;
      if (leadership === null) {
        if (!forwarded) return await this.forwarder.forward(request, response);
        refuseNotLeading(response);
        request.resume();
        return;
      }
      delete request.headers[hopHeader];
      const answered = leadership.gateway.handler.answer(request, response);
      if (request.method !== "GET" && request.method !== "HEAD") this.noteChanging(answered);
      await answered;
    } catch (error) {
      this.options.log(`${request.method} ${path} failed: ${(error as Error).message}`);
      sendError(response, 500, "gateway_error", (error as Error).message);
    }
  }

  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    request.url = originForm(request.url ?? "/");
    const forwarded = request.headers[hopHeader] !== undefined;
    if (this.leads() && this.leadership !== null) {
      delete request.headers[hopHeader];
      return this.leadership.gateway.handler.upgrade(request, socket, head);
    }
    if (!forwarded) return this.sockets.forward(request, socket, head);
    socket.on("error", () => socket.destroy());
    const lines = [`${notLeadingHeader}: 1`, "Content-Length: 0", "Connection: close"];
    socket.end(["HTTP/1.1 503 Service Unavailable", ...lines, "", ""].join("\r\n"));
  }

  maximumBodySize(): number {
    return this.view.settings?.maximumBodySize ?? 0;
  }

  /** Hands over what it leads, and ends as a gateway does. */
  async close(): Promise<void> {
    const { log, farewell = usualFarewell, shutdown = { keepAliveGrace: 3_000, deadline: 30_000 } } = this.options;
    log(`stopping; new connections are taken for ${farewell / 1_000} s more`);
    this.stopping = true;
    const stayed = delay(farewell);
    // It takes no part any more, but what still comes has to be passed on to who leads.
    const looking = setInterval(() => {
      if (!this.election.holdsLease) this.election.lookWhoHolds().catch((error: Error) => log(error.message));
    }, lookInterval);
    // Who goes must not take over from another one that goes.
    if (!this.election.holdsLease) await this.releaseLease();
    await this.roles;
    const { leadership } = this;
    const successor = leadership === null ? null : await this.handOver(leadership);
    if (leadership === null) await this.copy.stop(true);
    // A client whose socket stayed here would hear nothing of what it then has the successor do.
    if (successor !== null) await Promise.all([leadership?.gateway.closeSockets(), stayed]);
    else if (leadership === null) await stayed;
    this.sockets.close();
    const orphaned = successor === null ? leadership?.gateway.closeSockets() : undefined;
    await Promise.all([this.listener.close(shutdown), orphaned]);
    if (leadership !== null && successor === null) {
      await leadership.end();
      await this.releaseLease();
    }
    clearInterval(looking);
    clearInterval(this.lapses ?? undefined);
    this.view.close();
    log("stopped");
  }

  private leads(): boolean {
    return this.leadership !== null && !this.handingOver && this.election.leads();
  }

  /** Who could not renew its Lease for its whole duration has to expect another leader, whom its sockets' clients should find. */
  private noteLapse(): void {
    if (this.leadership === null || this.handingOver || this.stopping || this.election.leads()) {
      this.idleSince = null;
      return;
    }
    this.idleSince ??= performance.now();
    if (performance.now() - this.idleSince > longestLapse) this.election.forfeit();
  }

  private onRoleChange(): void {
    for (const wake of this.roleWaiters) wake();
    this.roles = this.roles
      .then(() => this.takeRole())
      .catch((error: Error) => {
        // Without its parts it can neither lead nor be of use: it is started anew.
        this.options.log(`the role could not be changed: ${error.stack ?? error.message}`);
        process.exitCode = 1;
        process.kill(process.pid, "SIGTERM");
      });
  }

  /** Becomes what the Lease says. One at a time. */
  private async takeRole(): Promise<void> {
    const { log, identity } = this.options;
    if (this.handingOver) return;
    const { holdsLease, holder } = this.election;
    this.refusedSince = null;
    if (holdsLease && this.leadership === null) {
      await this.copy.stop(false);
      this.leadership = await Leadership.begin({
        ...this.options,
        pod: identity.pod,
        view: this.view,
        followers: this.followers,
        leads: () => this.election.leads(),
      });
      log(`${identity.pod} leads`);
    } else if (!holdsLease && this.leadership !== null) {
      log(`${identity.pod} leads no longer, ${holder === null ? "nobody does" : `${holder.pod} does`}`);
      const { leadership } = this;
      this.leadership = null;
      await Promise.all([leadership.end(), leadership.gateway.closeSockets()]);
      this.copy = this.newCopy();
      this.copy.start();
    } else if (!holdsLease && holder !== null) log(`${holder.pod} leads`);
    for (const wake of this.roleWaiters) wake();
  }

  private newCopy(): SpoolCopy {
    return new SpoolCopy({
      spool: join(this.options.folder, "spool"),
      me: identityText(this.options.identity),
      peers: this.peers,
      leader: () => (this.election.holdsLease ? null : this.election.holder),
      onRefused: () => this.election.suspect(),
      log: this.options.log,
    });
  }

  /** The leader, be it this gateway itself, as soon as there is one that is ready to lead. */
  private async waitForLeader(deadline: number, signal: AbortSignal): Promise<Identity | null> {
    for (;;) {
      if (signal.aborted) return null;
      if (this.leads()) return this.options.identity;
      const { holder, holdsLease } = this.election;
      if (holder !== null && !holdsLease && identityText(holder) !== identityText(this.options.identity)) return holder;
      const left = deadline - performance.now();
      if (left <= 0) return null;
      await new Promise<void>((resolve) => {
        const end = () => {
          clearTimeout(timer);
          this.roleWaiters.delete(end);
          signal.removeEventListener("abort", end);
          resolve();
        };
        // A leader whose time has run out leads again without a change of its role.
        const timer = setTimeout(end, Math.min(left, 100));
        this.roleWaiters.add(end);
        signal.addEventListener("abort", end);
      });
    }
  }

  /** Says that it is of use to clients, and nothing else. */
  private answerReady(response: ServerResponse): void {
    const { holder } = this.election;
    const follows = holder !== null && this.copy.sinceAnswered(holder) < fresh;
    response.writeHead(!this.stopping && (this.leads() || follows) ? 200 : 503, { "content-length": 0 });
    response.end();
  }

  private async answerPeer(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!this.isDeployer(request)) {
      sendError(response, 401, "deployer_only", "this needs the deployer's token");
      return;
    }
    const leads = () => this.leadership !== null && this.election.leads();
    if (path === "/_gateway/leading") {
      const identity = identityText(this.options.identity);
      sendJson(response, JSON.stringify({ identity, leads: leads() }));
      return;
    }
    const { leadership } = this;
    if (leadership === null || !leads()) return refuseNotLeading(response);
    const folder = join(this.options.folder, "spool");
    await answerFollower(request, response, { folder, journal: leadership.journal, followers: this.followers, leads });
  }

  private isDeployer({ headers }: IncomingMessage): boolean {
    const digest = (text: string) => createHash("sha256").update(text).digest();
    const token = headers[deployerTokenHeader];
    return typeof token === "string" && timingSafeEqual(digest(token), digest(this.view.deployerToken));
  }

  /** Asks a holder whether it leads. Its process is gone when nothing has listened at its address for a second. */
  private async consult(holder: Identity): Promise<Consultation> {
    try {
      const answer = z
        .object({ identity: z.string(), leads: z.boolean() })
        .parse(await this.peers.askJson(holder, "/_gateway/leading", consultTimeout));
      this.refusedSince = null;
      return answer.leads && answer.identity === identityText(holder) ? "leads" : "unknown";
    } catch (error) {
      if (!(error instanceof PeerError && error.refused)) {
        this.refusedSince = null;
        return "unknown";
      }
      const now = performance.now();
      this.refusedSince ??= now;
      return now - this.refusedSince >= longestRefusal ? "gone" : "unknown";
    }
  }

  private noteChanging(answered: Promise<void>): void {
    const settled = answered.catch(() => {}).finally(() => this.changing.delete(settled));
    this.changing.add(settled);
  }

  /**
   * Lets another gateway go on where this one stops, and returns it; null when there is none. New requests are held meanwhile.
   * What changes something is finished here, and copied; what only reads may end later.
   */
  private async handOver(leadership: Leadership): Promise<Identity | null> {
    const { log } = this.options;
    if (!this.followers.anyLiving) return null;
    this.handingOver = true;
    await within(handover.requests, Promise.all(this.changing), () => log("requests are still under way"));
    await within(handover.keeping, leadership.end(), () => log("results are still being kept"));
    const until = performance.now() + handover.copying;
    while (!this.followers.haveCopied(leadership.journal.version) && performance.now() < until) await delay(20);
    if (!this.followers.haveCopied(leadership.journal.version))
      log("the spool is handed over without its last entries");
    await this.releaseLease();
    const end = performance.now() + handover.successor;
    while (performance.now() < end) {
      await this.election.lookWhoHolds().catch((error: Error) => log(error.message));
      const { holder, holdsLease } = this.election;
      if (holder !== null && !holdsLease && holder.pod !== this.options.identity.pod) {
        log(`${holder.pod} leads now`);
        return holder;
      }
      await delay(50);
    }
    log("no other gateway has taken over");
    return null;
  }

  private async releaseLease(): Promise<void> {
    try {
      await this.election.release();
    } catch (error) {
      // Then it runs out by itself.
      this.options.log(`the Lease could not be released: ${(error as Error).message}`);
    }
  }
}

async function within(milliseconds: number, action: Promise<unknown>, otherwise: () => void): Promise<void> {
  const timer = new AbortController();
  const late = delay(milliseconds, "late", { signal: timer.signal }).catch(() => "in time");
  if ((await Promise.race([action, late])) === "late") otherwise();
  timer.abort();
}
