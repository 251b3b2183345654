import type { DeploymentRecord, RecordedRelease } from "../deployment";
import type { PluginRecord } from "../environment";
import { foldersIn } from "./files";
import { Folders } from "./folders";
import { loopback } from "./ports";
import type { Claim, GatewayDeclaration, Release, ServiceSettings, WorkstationDeclaration } from "./protocol";
import { readService } from "./service-record";
import type { Moment } from "./steady-clock";
import { readWorkstation } from "./workstation-record";

/** What is on disk about a service. */
export interface ServiceRecord {
  readonly name: string;
  readonly claim: Claim;
  readonly settings: ServiceSettings;
  readonly revision: number;
  readonly serving: string | null;
  readonly gateway: { readonly port: number; readonly url: string } | null;
  /** By revision, the first first. */
  readonly releases: readonly Release[];
}

/** What is on disk about a workstation. */
export interface WorkstationRecord {
  readonly name: string;
  readonly declaration: WorkstationDeclaration;
  readonly port: number;
  readonly plugins: readonly PluginRecord[] | null;
}

/** `service.json`. */
export interface StoredService extends DeploymentRecord<StoredRelease> {
  readonly format: 1;
  readonly serving: string | null;
  readonly gateway: { readonly port: number; readonly declaration: GatewayDeclaration } | null;
}

/** A release with what only the supervisor needs to know. */
export interface StoredRelease extends RecordedRelease {
  /** When its drain began, on a clock that does not jump. Null without a drain; absent in records of before it was kept. */
  readonly drainBegan?: Moment | null;
}

/** `workstation.json`. */
export interface StoredWorkstation {
  readonly format: 1;
  readonly declaration: WorkstationDeclaration;
  readonly port: number;
  readonly plugins: readonly PluginRecord[] | null;
  /** True once it is to go; a start of the supervisor goes on with it. */
  readonly removing: boolean;
  /** Identity of its process and how often one was started, beyond the end of the supervisor. */
  readonly process: { readonly pid: number; readonly startTime: string } | null;
  /** Where the process listens, which may be another port than the one that is declared by now. */
  readonly processPort: number | null;
  /** Whether the process has answered since its start. */
  readonly booted: boolean;
  /** What the process was started with, to tell whether a declaration needs another start. */
  readonly startedWith: string | null;
  /** Identity of each plugin's content just before the start. */
  readonly hashes: Readonly<Record<string, string>>;
  readonly restarts: number;
}

/** The services that a directory records, without asking a supervisor. None when there is no such directory. */
export function readServiceRecords(directory: string): readonly ServiceRecord[] {
  const folders = new Folders(directory);
  return foldersIn(folders.services).flatMap((name) => {
    const stored = readService(folders.service(name));
    return stored === null ? [] : [serviceRecord(name, stored)];
  });
}

/** The workstations that a directory records, without asking a supervisor. None when there is no such directory. */
export function readWorkstationRecords(directory: string): readonly WorkstationRecord[] {
  const folders = new Folders(directory);
  return foldersIn(folders.workstations).flatMap((name) => {
    const stored = readWorkstation(folders.workstation(name));
    if (stored === null) return [];
    const { declaration, port, plugins } = stored;
    return [{ name, declaration, port, plugins }];
  });
}

/** Where a port of this machine is reached. */
export function urlOf(port: number): string {
  return `http://${loopback}:${port}`;
}

/** A release as clients see it. The end of its drain follows the settings as they are now. */
export function publicRelease(
  { confirmed: _, drainBegan: __, ...release }: StoredRelease,
  settings: ServiceSettings,
): Release {
  if (release.drain === null) return release;
  const deadlineAt = new Date(Date.parse(release.drain.startedAt) + settings.drain.deadline).toISOString();
  return { ...release, drain: { ...release.drain, deadlineAt } };
}

function serviceRecord(name: string, stored: StoredService): ServiceRecord {
  const { claim, settings, revision, serving, gateway, releases } = stored;
  return {
    name,
    claim,
    settings,
    revision,
    serving,
    gateway: gateway === null ? null : { port: gateway.port, url: urlOf(gateway.port) },
    releases: releases.map((release) => publicRelease(release, settings)),
  };
}
