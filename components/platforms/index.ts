export { type KubernetesPlatform, type KubernetesPlatformArgs, kubernetes } from "./kubernetes/platform";
export { type LocalPlatform, type LocalPlatformArgs, local } from "./local/platform";

import { type KubernetesPlatform, plainKubeconfig } from "./kubernetes/platform";
import type { LocalPlatform } from "./local/platform";

/** Where a workstation or a service runs: plain data, made by the factory of its kind. */
export type Platform = KubernetesPlatform | LocalPlatform;

/** A platform without what is secret: every check of the program looks at it. */
export function publicPlatform(platform: Platform): object {
  if (platform.kind === "local") return platform;
  const { kubeconfig, ...rest } = platform;
  return kubeconfig === undefined ? rest : { ...rest, kubeconfig: plainKubeconfig(kubeconfig) };
}
