import type { ClusterServices } from "../../test/support/cluster-service";
import { paint, paintedBy } from "../../test/support/engine-plugins";
import { startTraffic, type Traffic } from "../../test/support/traffic";
import type { Results } from "../metrics";
import type { ClusterMetricId } from "./goals";

/** Where the experiments on the cluster take place, and what they share. */
export interface Stage {
  readonly services: ClusterServices;
  readonly results: Results<ClusterMetricId>;
  readonly rotations: number;
  readonly say: (line: string) => void;
}

export const instances = 2;
const clients = 6;
/** Milliseconds after which a prompt counts as lost: all clients' prompts on one instance take 3 s. */
const patience = 20_000;

/** The load under which both rotate: each client's prompts take 0.2, 0.5 or 0.8 s, one after the other. */
export function startLoad(url: string): Traffic {
  return startTraffic({
    url,
    clients,
    workflow: (client, prompt) => paint(0.2 + (client % 3) * 0.3, `${client}-${prompt}`),
    versionIn: paintedBy,
    patience,
  });
}

/** Fails when clients complain before anything is done to what serves them: then what follows would prove nothing. */
export async function untilSteady({ seen }: Traffic, finished: number): Promise<void> {
  const wanted = seen.finished + finished;
  const end = performance.now() + 120_000;
  while (seen.finished < wanted) {
    if (seen.complaints.length > 0) throw new Error(`clients are not served as they should be: ${seen.complaints[0]}`);
    if (performance.now() > end) throw new Error(`only ${seen.finished} of ${wanted} prompts were finished in time`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** How much a count grew in each of several spans, of which there is its value when each began, and at the end of the last. */
export function differences(began: readonly number[], ended: number): readonly number[] {
  return began.map((count, index) => (began[index + 1] ?? ended) - count);
}

/** Numbers as the details of a metric. */
export function listsOf(values: Readonly<Record<string, number>>): Readonly<Record<string, readonly number[]>> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, [value]]));
}
