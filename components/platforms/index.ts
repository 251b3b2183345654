export { type LocalPlatform, type LocalPlatformArgs, local } from "./local";

import type { LocalPlatform } from "./local";

/** Where a workstation or a service runs: plain data, made by the factory of its kind. */
export type Platform = LocalPlatform;
