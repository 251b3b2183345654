/** Where pods have the programs of this package. */
export const programPlaces = {
  /** Of the ConfigMap, in which they are gzipped. */
  folder: "/comfyui/program",
  /** Where they are unpacked to. */
  unpacked: "/comfyui/run",
  /** Unpacks them, and goes on as the one that is named. */
  starter: "start.cjs",
} as const;

/** The command of a container that runs one of the programs. The image needs Node.js, and nothing else. */
export function programCommand(file: "gateway.js" | "agent.js", args: readonly string[]): string[] {
  return ["node", `${programPlaces.folder}/${programPlaces.starter}`, file, ...args];
}
