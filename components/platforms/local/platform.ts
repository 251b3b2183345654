/** Arguments of {@link local}. */
export interface LocalPlatformArgs {
  /**
   * Folder in which the platform keeps what it runs: logs, records, ports, and the instances' environments. Relative to the
   * program's folder. It is made where it is missing and belongs to one supervisor. Changing it replaces everything on it.
   */
  readonly directory: string;
}

/** See {@link local}. */
export interface LocalPlatform extends LocalPlatformArgs {
  readonly kind: "local";
}

/**
 * Processes of this machine, looked after by a supervisor that outlives `pulumi up`. Listens on the loopback interface only.
 *
 *     const platform = local({ directory: ".comfyui" });
 */
export function local({ directory }: LocalPlatformArgs): LocalPlatform {
  return { kind: "local", directory };
}
