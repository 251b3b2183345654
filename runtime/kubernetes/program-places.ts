/** Where pods have the programs of this package. */
export const programPlaces = {
  /** Of the ConfigMap, in which they are gzipped. */
  folder: "/comfyui/program",
  /** Where they are unpacked to. */
  unpacked: "/comfyui/run",
  /** Unpacks them, and goes on as the one that is named. */
  starter: "start.cjs",
} as const;
