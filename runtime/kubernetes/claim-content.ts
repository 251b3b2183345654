import { fingerprintIn, type WorkstationFingerprint } from "../deployment";
import type { Layout } from "../environment";
import { formatDuration } from "../format";
import { DeadlineError, type Watch, waitFor } from "../waiting";
import type { Cluster } from "./connection";
import { orNull } from "./failure";
import { workstationNames } from "./names";

/** Milliseconds between two looks at what an agent tells. */
const interval = 1_000;

/** What a claim holds, as the agent of its workstation says; or why nobody can say. */
export type ClaimContent =
  | { readonly known: true; readonly fingerprint: WorkstationFingerprint }
  | {
      readonly known: false;
      readonly reason: string;
      /** Whether it is being found out. */
      readonly soon: boolean;
    };

/** Reads what the agent of a workstation says of its claim. Starts nothing. */
export async function claimContent(cluster: Cluster, workstation: string, layout: Layout): Promise<ClaimContent> {
  const { core, namespace } = cluster;
  const name = workstationNames(workstation).workstation;
  const unknown = (reason: string, soon = false): ClaimContent => ({ known: false, reason, soon });
  const told = await orNull(core.readNamespacedConfigMap({ name, namespace }));
  let fingerprint: WorkstationFingerprint | null;
  try {
    fingerprint = fingerprintIn(told?.data);
  } catch (error) {
    return unknown(`${(error as Error).message}: start workstation ${workstation} with this version of the package`);
  }
  if (fingerprint === null) {
    return unknown(`workstation ${workstation} has never started, so that nobody has looked at what its claim holds`);
  }
  const { scanning, problem, running, pod, at } = fingerprint;
  if (scanning) return unknown(`the claim of workstation ${workstation} is being looked through`, true);
  if (problem !== null) return unknown(`the last look at the claim of workstation ${workstation} failed: ${problem}`);
  if (running && !(await isThere(cluster, pod))) {
    return unknown(
      `pod ${pod} of workstation ${workstation} ended before it could look at its claim again, since ${at}`,
    );
  }
  const other = (Object.keys(layout) as (keyof Layout)[]).find((part) => fingerprint.layout[part] !== layout[part]);
  if (other !== undefined) {
    const found = fingerprint.layout[other];
    return unknown(`workstation ${workstation} runs with layout.${other} ${found}, and ${layout[other]} is declared`);
  }
  return { known: true, fingerprint };
}

/** The same, once it has been found out; what is known by then when the deadline comes. */
export async function settledClaimContent(
  cluster: Cluster,
  workstation: string,
  layout: Layout,
  { deadline, isWorthWaiting, ...watch }: Partial<Watch> & ContentWait,
): Promise<ClaimContent> {
  let seen = await claimContent(cluster, workstation, layout);
  if (seen.known || !isWorthWaiting(seen.soon)) return seen;
  try {
    return await waitFor({
      ...watch,
      what: `workstation ${workstation} to say what its claim holds`,
      deadline,
      interval,
      seen: () => (seen.known ? "" : seen.reason),
      look: async () => {
        seen = await claimContent(cluster, workstation, layout);
        return seen.known || !isWorthWaiting(seen.soon) ? seen : undefined;
      },
    });
  } catch (error) {
    if (!(error instanceof DeadlineError) || seen.known) throw error;
    return { ...seen, reason: `${seen.reason}, for ${formatDuration(deadline)} now` };
  }
}

export interface ContentWait {
  /** Milliseconds. */
  readonly deadline: number;
  /** Whether it is waited for what is not known; `soon`: it is being found out. */
  readonly isWorthWaiting: (soon: boolean) => boolean;
}

async function isThere({ core, namespace }: Cluster, name: string): Promise<boolean> {
  const pod = await orNull(core.readNamespacedPod({ name, namespace }));
  return pod !== null && pod.status?.phase !== "Failed" && pod.status?.phase !== "Succeeded";
}
