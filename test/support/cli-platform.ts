import type { ServiceView, WorkstationView } from "../../runtime/cli/platform-view";
import { defaultLayout } from "../../runtime/environment";
import type { InstanceStatus, Owner, Release, ReleaseEventName, ReleaseSpec } from "../../runtime/supervisor";
import { writeFiles } from "./cli-surroundings";

export const owner: Owner = { organization: "organization", project: "studio", stack: "dev" };

export const digestOf = (letter: string) => letter.repeat(64);

export function specOf(snapshot: string): ReleaseSpec {
  return {
    snapshot,
    models: null,
    arguments: [],
    environmentVariables: {},
    health: { startTimeout: 60_000, stableFor: 0, smoke: null, smokeTimeout: 1000, acceptFailing: [] },
  };
}

/** A release whose events happened a minute apart, the first at 2026-01-01 10:00 UTC. */
export function releaseOf(revision: number, events: readonly ReleaseEventName[], over: Partial<Release> = {}): Release {
  return {
    id: `r${revision}-abcde`,
    revision,
    owner,
    specHash: digestOf("0"),
    spec: specOf(`/store#sha256:${digestOf(String(revision % 10))}`),
    count: 1,
    drain: null,
    events: events.map((event, minute) => ({ event, at: new Date(Date.UTC(2026, 0, 1, 10, minute)).toISOString() })),
    ...over,
  };
}

export function instanceOf(release: string, index: number, over: Partial<InstanceStatus> = {}): InstanceStatus {
  return {
    id: `${release}/${index}`,
    release,
    index,
    phase: "proven",
    detail: "",
    url: "http://127.0.0.1:1",
    pid: 1,
    epoch: 1,
    restarts: 0,
    createdAt: "2026-01-01T10:00:00.000Z",
    phaseSince: "2026-01-01T10:00:00.000Z",
    queueRemaining: 0,
    log: "/log",
    evidence: null,
    ...over,
  };
}

export function serviceViewOf(over: Partial<ServiceView> = {}): ServiceView {
  return {
    name: "studio",
    owner,
    claimedSince: "2026-01-01T10:00:00.000Z",
    revision: 1,
    serving: "r1-abcde",
    gateway: { url: "http://127.0.0.1:8188", running: true, restarts: 0 },
    releases: [releaseOf(1, ["created", "started", "proven", "serving"])],
    drainDeadline: 600_000,
    instances: [instanceOf("r1-abcde", 0)],
    ...over,
  };
}

export function workstationViewOf(over: Partial<WorkstationView> = {}): WorkstationView {
  return {
    name: "studio",
    owner,
    root: "/studio",
    declared: "running",
    phase: "running",
    detail: "",
    url: "http://127.0.0.1:8189",
    queueRemaining: 0,
    restarts: 0,
    ...over,
  };
}

/** Writes what a supervisor would have left on disk about a service, without one having run. */
export function recordService(
  directory: string,
  {
    name = "studio",
    serving = null,
    releases = [],
    gatewayPort = null,
  }: {
    readonly name?: string;
    readonly serving?: string | null;
    readonly releases?: readonly Release[];
    readonly gatewayPort?: number | null;
  },
): void {
  const record = {
    format: 1,
    claim: { owner, since: "2026-01-01T10:00:00.000Z" },
    settings: { drain: { deadline: 600_000, onDeadline: "keep" } },
    revision: releases.length,
    serving,
    gateway: gatewayPort && {
      port: gatewayPort,
      declaration: { port: null, apiKeyHashes: [], maximumBodySize: 1, resultRetention: 0, maximumSpoolSize: 0 },
    },
    releases: releases.map((release) => ({ ...release, confirmed: true })),
  };
  writeFiles(directory, { [`services/${name}/service.json`]: JSON.stringify(record) });
}

/** Writes what a supervisor would have left on disk about a workstation. */
export function recordWorkstation(
  directory: string,
  {
    name = "studio",
    root = "/studio",
    port = 8189,
    state = "running",
    plugins = null,
  }: {
    readonly name?: string;
    readonly root?: string;
    readonly port?: number;
    readonly state?: "running" | "stopped";
    readonly plugins?: readonly unknown[] | null;
  },
): void {
  const record = {
    format: 1,
    declaration: {
      owner,
      root,
      layout: defaultLayout,
      port: null,
      arguments: [],
      environmentVariables: {},
      state,
      stopDeadline: 1000,
    },
    port,
    plugins,
    removing: false,
    process: null,
    processPort: null,
    booted: false,
    startedWith: null,
    hashes: {},
    restarts: 0,
  };
  writeFiles(directory, { [`workstations/${name}/workstation.json`]: JSON.stringify(record) });
}
