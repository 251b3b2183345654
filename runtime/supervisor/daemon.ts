import { existsSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { Bell, pause } from "../bell";
import { packageVersion } from "../package-root";
import { ControlServer } from "./control-server";
import { removeIfEmpty, removeTree, temporaryOf, writeJson } from "./files";
import { Folders } from "./folders";
import { type Journal, journalAt, reasonOf } from "./journal";
import { type Lock, takeLock } from "./lock";
import { Platform } from "./platform";
import { type Presence, readPresence } from "./presence";
import { findMarkedBelow, send } from "./processes";
import { protocolVersion, type SupervisorAbout } from "./protocol";
import { socketPath } from "./socket-folder";

/** Milliseconds without a connection and without anything to look after, after which the supervisor ends. */
const idleEnd = 3_000;
/** Milliseconds between two looks at that, and at whether it can still be reached. */
const interval = 500;
/** Milliseconds between two looks at the logs. */
const logInterval = 5_000;
/** Milliseconds that what is under way gets when the supervisor ends and its processes stay. */
const detachPatience = 3_000;

/** Looks after a directory until there is nothing left, or the signal is aborted. Returns at once when another one does. */
export async function runDaemon(directory: string, signal: AbortSignal): Promise<void> {
  const folders = new Folders(directory);
  const lock = await takeLock(directory);
  if (lock === null) return;
  const journal = journalAt(folders.log);
  try {
    await new Daemon(folders, lock, journal).run(signal);
  } finally {
    lock.release();
  }
  await removeIfEmpty(directory);
}

class Daemon {
  private readonly about: SupervisorAbout;
  private readonly stop = new Bell();
  private readonly stopped = this.stop.next;
  private socket: string | null = null;
  private logsAt = performance.now();
  private trouble = "";

  constructor(
    private readonly folders: Folders,
    private readonly lock: Lock,
    private readonly journal: Journal,
  ) {
    this.about = {
      protocol: protocolVersion,
      version: packageVersion(),
      pid: process.pid,
      startedAt: new Date().toISOString(),
      host: hostname(),
      directory: folders.directory,
    };
  }

  async run(signal: AbortSignal): Promise<void> {
    const { folders, journal, about } = this;
    const left = readPresence(folders);
    if (left !== null) rmSync(left.socket, { force: true });
    journal(`supervisor ${about.version} (process ${about.pid}) looks after ${folders.directory}`);
    const platform = await Platform.load(folders, journal);
    const shutdown = async () => {
      journal("is told to end, and ends all processes");
      await platform.halt();
      this.stop.ring();
    };
    const server = new ControlServer({ platform, about, shutdown }, journal);
    await this.beReachable(server);
    const end = AbortSignal.any([signal, this.stopped]);
    while (!end.aborted) {
      await pause(interval, end);
      if (end.aborted) break;
      if (!this.lock.held && !platform.recorded) return this.abandon();
      if (platform.empty && server.idleFor >= idleEnd) break;
      await this.maintain(server, platform);
    }
    await this.leave(server, platform);
  }

  /** What goes wrong here, on a full disk for example, is said once and tried again: what is looked after must not suffer from it. */
  private async maintain(server: ControlServer, platform: Platform): Promise<void> {
    try {
      if (!this.lock.held) this.lock.renew();
      await this.beReachable(server);
      if (performance.now() - this.logsAt >= logInterval) {
        this.logsAt = performance.now();
        platform.capLogs();
      }
      this.trouble = "";
    } catch (error) {
      const trouble = reasonOf(error);
      if (trouble !== this.trouble) this.journal(`cannot do all that it should: ${trouble}; it is tried again`);
      this.trouble = trouble;
    }
  }

  /** Listens, and writes down where; again when a logout has taken the socket away, or a person the file. */
  private async beReachable(server: ControlServer): Promise<void> {
    const { folders, about, lock } = this;
    const reachable = this.socket !== null && existsSync(this.socket);
    if (reachable && existsSync(folders.presence)) return;
    if (!reachable) {
      await server.close();
      this.socket = socketPath(folders.directory);
      await server.listen(this.socket);
    }
    if (this.socket !== null)
      writeJson(folders.presence, { ...about, identity: lock.identity, socket: this.socket } satisfies Presence);
  }

  /** Somebody has removed the directory's content. What it said of its processes is lost, so nobody else would ever end them. */
  private abandon(): void {
    const { services, workstations } = this.folders;
    for (const folder of [services, workstations]) {
      for (const identity of findMarkedBelow(folder)) send(identity, "SIGKILL");
    }
    if (this.socket !== null) rmSync(this.socket, { force: true });
  }

  private async leave(server: ControlServer, platform: Platform): Promise<void> {
    const { folders, journal } = this;
    for (const path of [folders.presence, temporaryOf(folders.presence)]) rmSync(path, { force: true });
    await server.close();
    await Promise.race([platform.detach(), pause(detachPatience, new AbortController().signal)]);
    if (!platform.empty) {
      journal(`ends; the next supervisor goes on with ${platform.contents}`);
      return;
    }
    await removeTree(folders.cache);
    for (const folder of [folders.services, folders.workstations]) await removeIfEmpty(folder);
    for (const log of [folders.log, `${folders.log}.1`]) rmSync(log, { force: true });
  }
}
