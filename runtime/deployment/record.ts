import type { Claim, Release, ServiceSettings } from "./types";

/** A release with what only its platform needs to know. */
export interface RecordedRelease extends Release {
  /** Whether its count was ever set: somebody knows it by its id. */
  readonly confirmed: boolean;
}

/** What a platform records of a service, whatever it records it in. */
export interface DeploymentRecord<R extends RecordedRelease = RecordedRelease> {
  readonly claim: Claim;
  readonly settings: ServiceSettings;
  /** Of the last release. Only grows. */
  readonly revision: number;
  /** By revision, the first first. */
  readonly releases: readonly R[];
}
