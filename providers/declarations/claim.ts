import type { z } from "zod";
import { type Cluster, clusterName, orNull, reasonOf, statusOf, workstationNames } from "../../runtime/kubernetes";
import type { Problem } from "../../runtime/problems";
import type { claimSchema } from "./common";

/**
 * What is wrong with the claim of a workstation's environment. What cannot be changed is refused here: Pulumi would replace the claim, and
 * the environment would be lost.
 */
export async function claimProblems(
  cluster: Cluster,
  workstation: string,
  declared: z.output<typeof claimSchema>,
): Promise<readonly Problem[]> {
  const { core, namespace } = cluster;
  const name = declared.name ?? workstationNames(workstation).environment;
  try {
    const found = await orNull(core.readNamespacedPersistentVolumeClaim({ name, namespace }));
    if (found === null) {
      if (declared.name === undefined) return await classProblems(cluster, declared.storageClass);
      const reason = `the namespace ${namespace} of ${clusterName(cluster)} has no claim ${JSON.stringify(name)}`;
      return [{ path: "environment.name", reason }];
    }
    if (declared.name !== undefined) return [];
    const { storageClassName, accessModes = [], resources } = found.spec ?? {};
    const { storageClass, accessMode = "ReadWriteOnce", size } = declared;
    const problems: Problem[] = [];
    const fixed = (path: string, is: unknown, wanted: unknown) =>
      problems.push({
        path: `environment.${path}`,
        reason: `is ${JSON.stringify(is)} of the claim ${name} that is there, and cannot become ${JSON.stringify(wanted)}: make such a claim, bring the environment there, and name it with claim({ name })`,
      });
    if (storageClass !== undefined && storageClassName !== storageClass) {
      fixed("storageClass", storageClassName, storageClass);
    }
    if (!accessModes.includes(accessMode)) fixed("accessMode", accessModes.join(), accessMode);
    const now = resources?.requests?.storage;
    if (now !== undefined && size !== undefined && bytesOf(size) < bytesOf(now)) {
      problems.push({
        path: "environment.size",
        reason: `${size} is less than the ${now} of the claim ${name}, and claims only grow`,
      });
    }
    return problems;
  } catch (error) {
    // Not everybody who deploys may look at everything; what is wrong then shows when it is made.
    if (statusOf(error) === 403) return [];
    return [{ path: "environment", reason: `claims cannot be looked at: ${reasonOf(error)}` }];
  }
}

async function classProblems(cluster: Cluster, name: string | undefined): Promise<readonly Problem[]> {
  try {
    const { items } = await cluster.storage.listStorageClass({});
    const names = items.map(({ metadata }) => metadata?.name ?? "").sort();
    if (name !== undefined) {
      if (names.includes(name)) return [];
      const reason = `${clusterName(cluster)} has no storage class ${JSON.stringify(name)}; it has ${names.join(", ") || "none"}`;
      return [{ path: "environment.storageClass", reason }];
    }
    const isDefault = items.some(
      ({ metadata }) => metadata?.annotations?.["storageclass.kubernetes.io/is-default-class"] === "true",
    );
    if (isDefault) return [];
    const reason = `names none, and ${clusterName(cluster)} has no default one; it has ${names.join(", ") || "none"}`;
    return [{ path: "environment.storageClass", reason }];
  } catch (error) {
    if (statusOf(error) === 403) return [];
    throw error;
  }
}

/** By suffix, what a quantity of bytes is multiplied with. */
const factors: Readonly<Record<string, number>> = {
  "": 1,
  ...{ k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 },
};

/** Of a quantity as Kubernetes writes it; one in another form counts as endless, so that the API server decides. */
function bytesOf(quantity: string): number {
  const [, number = "", suffix = ""] = /^([\d.]+)([kMGTPE]i?)?$/.exec(quantity.replace(/^\+/, "")) ?? [];
  const factor = factors[suffix];
  return number === "" || factor === undefined ? Number.POSITIVE_INFINITY : Number(number) * factor;
}
