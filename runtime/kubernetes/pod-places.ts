/** Where the programs of pods listen: each pod has an address of its own, so that there is nothing to choose. */
export const ports = {
  comfyui: 8188,
  agent: 8199,
  gateway: 8188,
  /** The way into a workstation. */
  relay: 8190,
} as const;

/** Where a node's cache of restores is mounted, in the agent's container only. */
export const nodeCacheFolder = "/comfyui/node-cache";

/** Where a claim with models is mounted. */
export const modelsFolder = "/comfyui/models";
