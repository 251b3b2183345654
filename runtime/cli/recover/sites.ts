import { isAbsolute, resolve } from "node:path";
import type { Owner } from "../../deployment";
import { type Cluster, connectCluster, isKubeconfigContent, reasonOf } from "../../kubernetes";
import { connectTo } from "../cluster-connection";
import type { ClusterOptions } from "../cluster-options";
import { isFolder } from "../common-options";
import type { Output } from "../output";
import { findDirectory } from "../platform-directory";
import { clusterSite } from "./cluster-site";
import { knownInClusters, type StatePlace } from "./cluster-state";
import { localSite } from "./local-site";
import type { Site, Unseen } from "./site";
import { canonicalDirectory, knownObjects, type StackState } from "./state";

export interface SitesRequest {
  readonly state: StackState;
  /** Folder that relative paths in the state start from. */
  readonly programFolder: string;
  /** Folder that relative paths in the options start from. */
  readonly cwd: string;
  /** A platform's folder besides those that the state names. */
  readonly directory?: string | undefined;
  /** How the state's clusters are reached, where it is not as the state says; and a namespace besides the state's. */
  readonly cluster: ClusterOptions;
  readonly isOwn: (owner: Owner) => boolean;
}

/** All places where the stack may have left something: those that its state names, and those that a person does. */
export async function findSites(
  request: SitesRequest,
  output: Output,
): Promise<{ readonly sites: readonly Site[]; readonly unseen: readonly Unseen[] }> {
  const clusters = await clusterSites(request, output);
  return { sites: [...localSites(request, output), ...clusters.sites], unseen: clusters.unseen };
}

function localSites(
  { state, programFolder, cwd, directory: given, isOwn }: SitesRequest,
  output: Output,
): readonly Site[] {
  const known = knownObjects(state, programFolder);
  const nearest = findDirectory(given, given ? cwd : programFolder);
  const directories = new Set(known.directories);
  if (nearest !== null) directories.add(canonicalDirectory(nearest, "/"));
  return [...directories].flatMap((directory) => {
    if (isFolder(directory)) return [localSite(directory, known, isOwn)];
    output.remark(`${directory} is not on this machine: what is left there can only be found where it is`);
    return [];
  });
}

async function clusterSites({ state, programFolder, cwd, cluster: options, isOwn }: SitesRequest, output: Output) {
  const known = knownInClusters(state);
  const clusters = new Map<string, Cluster>();
  const unseen: Unseen[] = [];
  const add = (cluster: Cluster) =>
    clusters.set(JSON.stringify([cluster.config.getCurrentCluster()?.server, cluster.namespace]), cluster);
  if (options.namespace !== undefined) {
    add(await connectTo(addressOf({ namespace: options.namespace, sealed: false }, options, cwd, cwd)));
  }
  for (const place of known.places) {
    const name = `namespace ${place.namespace}`;
    if (place.sealed && options.kubeconfig === undefined) {
      const reason = "the state keeps its kubeconfig as a secret; say with --kubeconfig how it is reached";
      unseen.push({ name, reason });
      continue;
    }
    try {
      add(await connectCluster(addressOf(place, options, programFolder, cwd)));
    } catch (error) {
      unseen.push({ name, reason: reasonOf(error) });
    }
  }
  const remark = (message: string) => output.remark(message);
  return { sites: [...clusters.values()].map((cluster) => clusterSite(cluster, known, isOwn, remark)), unseen };
}

function addressOf(place: StatePlace, options: ClusterOptions, programFolder: string, cwd: string) {
  const { namespace } = place;
  const context = options.context ?? place.context;
  if (options.kubeconfig !== undefined) return { namespace, context, kubeconfig: resolve(cwd, options.kubeconfig) };
  const { kubeconfig } = place;
  if (kubeconfig === undefined || isKubeconfigContent(kubeconfig) || isAbsolute(kubeconfig)) {
    return { namespace, context, kubeconfig };
  }
  return { namespace, context, kubeconfig: resolve(programFolder, kubeconfig) };
}
