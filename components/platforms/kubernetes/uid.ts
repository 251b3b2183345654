import type { Deployment } from "@pulumi/kubernetes/apps/v1";
import type * as pulumi from "@pulumi/pulumi";
import { engineMarker } from "../../../providers/unknown";

/**
 * A Deployment's UID. In a preview, the plugin gives what is declared back as it is where a part of it is not known yet: metadata without a UID, which
 * then is not known either.
 */
export function uidOf({ metadata }: Deployment): pulumi.Output<string> {
  return metadata.apply(({ uid }: { readonly uid?: string }) => uid ?? engineMarker);
}
