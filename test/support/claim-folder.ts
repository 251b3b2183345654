import { execFileSync } from "node:child_process";
import { chmodSync, chownSync } from "node:fs";
import type { TestCluster } from "./cluster";

/** User of the pods. */
const user = 1000;

/** A volume of the lab that pods may write to, for a claim of the lab's storage class. Returns its folder. */
export async function makeVolume(cluster: TestCluster, name: string): Promise<string> {
  const folder = await cluster.lab.addVolume(name, 1);
  chmodSync(folder, 0o755);
  chownSync(folder, user, user);
  return folder;
}

/** A claim on a new folder of this machine, which pods' user owns. Returns the folder. */
export async function makeClaim(cluster: TestCluster, name: string): Promise<string> {
  const volume = `${name}-${cluster.namespace}`;
  const folder = await makeVolume(cluster, volume);
  await cluster.create({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name },
    spec: {
      storageClassName: cluster.lab.storageClass,
      volumeName: volume,
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: "1Gi" } },
    },
  } as object);
  return folder;
}

/** What this machine's user has written there becomes that of pods' user. */
export function giveToPods(folder: string): void {
  execFileSync("chown", ["-R", `${user}:${user}`, folder]);
}
