import type * as pulumi from "@pulumi/pulumi";

/**
 * What a component's first resource waits for: what the component itself is to wait for, which Pulumi does not hand on to its children,
 * and others.
 */
export function after(
  opts: pulumi.ComponentResourceOptions | undefined,
  ...others: readonly (pulumi.Resource | null)[]
): pulumi.Input<pulumi.Resource>[] {
  const { dependsOn } = opts ?? {};
  const own = others.filter((other) => other !== null);
  if (dependsOn === undefined) return own;
  // Pulumi takes lists in lists here, which its types do not tell.
  return [dependsOn as pulumi.Input<pulumi.Resource>, ...own];
}
