import type { Owner } from "../../deployment";
import type { ClusterOptions } from "../cluster-options";
import type { Output } from "../output";
import type { Surroundings } from "../surroundings";
import type { Project } from "./project";
import type { Pulumi } from "./pulumi";

export interface RecoverRequest {
  /** The project's folder, relative to the current one. */
  readonly project: string;
  /** As `pulumi --stack` takes it; the selected one without it. */
  readonly stack?: string | undefined;
  /** A platform's folder besides those that the state names. */
  readonly directory?: string | undefined;
  /** How the state's clusters are reached, where it is not as the state says; and a namespace besides the state's. */
  readonly cluster: ClusterOptions;
  /** Takes every question as answered with yes. */
  readonly yes: boolean;
  readonly dryRun: boolean;
  /** Removes also what serves users. */
  readonly includeServing: boolean;
  /** Milliseconds for one call of `pulumi`. */
  readonly pulumiDeadline: number;
}

export interface Recovery {
  readonly request: RecoverRequest;
  readonly output: Output;
  readonly surroundings: Surroundings;
  readonly project: Project;
  /** Without organisation and project. */
  readonly stack: string;
  readonly pulumi: Pulumi;
  readonly backend: { readonly url: string; readonly folder: string | null };
}

/** One thing that was found, and what became of it. */
export interface Outcome<T> {
  readonly found: T;
  readonly done: boolean;
  readonly error?: string;
}

/** Whether a platform's owner is the stack; by the organisation too, wherever it can be told. */
export function isOwner(
  owner: Owner,
  { request, project, stack, backend }: Pick<Recovery, "request" | "project" | "stack" | "backend">,
): boolean {
  const [organization, , rest] = request.stack?.split("/") ?? [];
  // Backends that are not Pulumi Cloud have one organisation, of this name.
  const own = rest !== undefined ? organization : backend.folder !== null ? "organization" : undefined;
  return owner.project === project.name && owner.stack === stack && (own === undefined || owner.organization === own);
}

export async function confirm({ request, output, surroundings }: Recovery, question: string): Promise<boolean> {
  if (request.yes) return true;
  if (surroundings.ask === null) {
    output.remark(`${question} Nobody can answer here: run again with --yes, or at a terminal`);
    return false;
  }
  output.clearProgress();
  return /^\s*y(es)?\s*$/i.test(await surroundings.ask(`${question} [y/N] `));
}
