import {
  type DeclaredResource,
  isOwn,
  isProduction,
  type ProductionSettings,
  subjectOf,
  textAt,
  unknown,
  type Violation,
  valueAt,
} from "./declared";

const reference = /^.+#sha256:[0-9a-f]{64}$/;
const remedy = 'pin one: snapshot: "<store>#sha256:<digest>"';

/**
 * In production, a service serves a snapshot that somebody has named: a reference, and not what a `Snapshot` of the same stack takes of a workstation,
 * which changes with it. A reference that comes from another stack's output is a named one.
 */
export function unpinnedSnapshots(
  resources: readonly DeclaredResource[],
  settings: ProductionSettings = {},
): readonly Violation[] {
  const taken = resources.filter((resource) => isOwn(resource, ...snapshots));
  return resources
    .filter((resource) => isOwn(resource, "Release", "ClusterRelease") && isProduction(resource, settings))
    .flatMap((release) => {
      const reason = whyUnpinned(release, taken);
      if (reason === null) return [];
      return [{ resource: subjectOf(release), urn: release.urn, property: "snapshot", reason: `${reason}: ${remedy}` }];
    });
}

const snapshots = ["Snapshot", "ClusterSnapshot"] as const;

function whyUnpinned(release: DeclaredResource, taken: readonly DeclaredResource[]): string | null {
  const snapshot = valueAt(release, "snapshot");
  const source =
    release.propertyDependencies === undefined
      ? taken.find((other) => typeof snapshot === "string" && textAt(other, "reference") === snapshot)
      : release.propertyDependencies.snapshot?.find(({ type }) =>
          snapshots.some((kind) => type.endsWith(`/comfyui:${kind}`)),
        );
  if (source !== undefined) return `is what the Snapshot ${JSON.stringify(source.name)} of this stack takes`;
  if (snapshot === unknown) return "is only known once something else is made";
  if (typeof snapshot === "string" && reference.test(snapshot)) return null;
  return `${JSON.stringify(snapshot)} is no reference of a snapshot`;
}
