import type { Release } from "../deployment";
import { hasServed, isOver } from "../deployment";
import { type EksWatch, giveBackNodes } from "../eks";
import {
  type Cluster,
  type ClusterAddress,
  clusterName,
  failRelease as failInCluster,
  ServiceRecords,
  waysIn,
} from "../kubernetes";
import { InvalidInputError } from "../problems";
import { connectSupervisor, failRelease as failHere, findSupervisor } from "../supervisor";
import { connectTo } from "./cluster-connection";
import { leadToPods } from "./led-port";
import { requireDirectory } from "./platform-directory";

/** A release, and the way to it through its service's gateway. */
export interface Candidate {
  readonly release: string;
  /** Whether it serves, or has. */
  readonly served: boolean;
  /** Where the gateway is reached from here. */
  readonly gateway: string;
  /** The deployer's. */
  readonly token: string;
  /** Records that it has failed and takes its instances, and nodes of its own, away; gives what that means for users. */
  readonly fail: (detail: string, watch: EksWatch) => Promise<string>;
  readonly close: () => void;
}

export interface CandidateRequest {
  readonly service: string;
  /** The newest that is there and has not served, where it is left open. */
  readonly release: string | undefined;
  /** Of the local platform, as a person gave it. */
  readonly directory: string | undefined;
  /** A namespace of a cluster instead. */
  readonly cluster: ClusterAddress | null;
  /** Whether a supervisor is started where none runs. */
  readonly start: boolean;
}

interface Following {
  readonly cwd: string;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
  readonly remark: (text: string) => void;
}

/** Finds a release and the way to it. @throws InvalidInputError where there is none such */
export function findCandidate(request: CandidateRequest, following: Following): Promise<Candidate> {
  return request.cluster === null
    ? findHere(request, following.cwd)
    : findInCluster(request, request.cluster, following);
}

async function findHere({ service, release, directory, start }: CandidateRequest, cwd: string): Promise<Candidate> {
  const folder = requireDirectory(directory, cwd);
  const supervisor = await (start ? connectSupervisor(folder) : findSupervisor(folder));
  if (supervisor === null) throw new Error(`nothing runs in ${folder}: no supervisor answers`);
  const state = await supervisor.service(service);
  if (state === null) throw noService(service, folder);
  const { id, events } = choose(state.releases, release, service);
  if (state.gateway === null) throw new Error(`service ${service} has no gateway`);
  return {
    release: id,
    served: hasServed({ events }),
    gateway: state.gateway.url,
    token: await supervisor.deployerToken(service),
    fail: (detail) => failHere(supervisor, { service, release: id }, detail),
    close: () => undefined,
  };
}

async function findInCluster(
  { service, release }: CandidateRequest,
  address: ClusterAddress,
  { signal, progress, remark }: Following,
): Promise<Candidate> {
  const cluster = await connectTo(address, { progress, signal });
  const records = new ServiceRecords(cluster, service);
  const record = await records.record();
  if (record === null) throw noService(service, placeName(cluster));
  const { id, events } = choose(record.releases, release, service);
  const way = (await waysIn(cluster, service)).find(({ kind }) => kind === "service");
  if (way === undefined) throw noService(service, placeName(cluster));
  const token = await records.deployerToken();
  const { port, close } = await leadToPods(cluster, way, { remark, signal });
  return {
    release: id,
    served: hasServed({ events }),
    gateway: `http://127.0.0.1:${port}`,
    token,
    fail: (detail, watch) => failInCluster(records, id, detail, (nodes) => giveBackNodes(nodes, watch)),
    close,
  };
}

const placeName = (cluster: Cluster) => `the namespace ${cluster.namespace} of ${clusterName(cluster)}`;

function noService(service: string, place: string): InvalidInputError {
  return new InvalidInputError([{ path: "SERVICE", reason: `there is no service ${service} in ${place}` }]);
}

function choose(
  releases: readonly Pick<Release, "id" | "events">[],
  wanted: string | undefined,
  service: string,
): Pick<Release, "id" | "events"> {
  const there = releases.filter((release) => !isOver(release));
  const found =
    wanted === undefined ? there.findLast((release) => !hasServed(release)) : there.find(({ id }) => id === wanted);
  if (found !== undefined) return found;
  const known = there.map((release) => `${release.id}${hasServed(release) ? " (has served)" : ""}`).join(", ");
  const reason =
    wanted === undefined
      ? `service ${service} has no release that has not served yet: name one of ${known || "none"}`
      : `service ${service} has no release ${wanted}; it has ${known || "none"}`;
  throw new InvalidInputError([{ path: "--release", reason }]);
}
