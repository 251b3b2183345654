import {
  type DeclaredResource,
  isOwn,
  isProduction,
  type ProductionSettings,
  subjectOf,
  type Violation,
  valueAt,
} from "./declared";

/** In production, no workstation is declared running: it holds GPUs, and runs what somebody is just trying out. */
export function runningWorkstations(
  resources: readonly DeclaredResource[],
  settings: ProductionSettings = {},
): readonly Violation[] {
  return resources
    .filter((resource) => isOwn(resource, "Workstation", "ClusterWorkstation") && isProduction(resource, settings))
    .filter((resource) => (valueAt(resource, "state") ?? "running") === "running")
    .map((resource) => ({
      resource: subjectOf(resource),
      urn: resource.urn,
      property: "state",
      reason: 'the workstation is declared running: let its state be "stopped", or declare it in a stack of its own',
    }));
}
