import { goal } from "../metrics";

/** What a rotation in a cluster is to cost. Each is a value, judged by the worst rotation. */
export const clusterGoals = [
  goal("rotation.traffic", "last instance proven until the gateway sends new prompts to the release", 2),
  goal("rotation.up", "whole pulumi up that rotates, without the instances' own start", 12),
  goal("rotation.failures", "failed requests, cut prompts and closed sockets in a rotation under load", 0, "count"),
  goal("gate.proving", "API requests a second of a gate over 200 pods", 5, "count"),
  goal("gate.draining", "API requests a second of the drain of 200 pods", 5, "count"),
] as const;

export type ClusterMetricId = (typeof clusterGoals)[number]["id"];
