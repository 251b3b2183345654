import type * as pulumi from "@pulumi/pulumi";
import { workstationPod } from "../../../providers/declarations/pod";
import type { PackerSettings } from "../../../runtime/kubernetes";
import type { ClaimEnvironment } from "../../environment";
import { ClusterSnapshotContent, owner } from "../../resources";
import type { SnapshotDeclaration } from "../snapshot";
import { clusterInputs } from "./place";

/** Packed by a Job beside the claim. */
export function kubernetesSnapshot({ name, child, declarations, ...snapshot }: SnapshotDeclaration) {
  const { environment, store, access, models, publish, packing } = snapshot;
  const { layout, name: claim } = environment as ClaimEnvironment;
  return new ClusterSnapshotContent(
    name,
    {
      ...placeOf(snapshot),
      ...{ claim, layout, store, access, models, publish, packing, declarations },
      owner: owner(),
    },
    child,
  );
}

/** Where the claim is, whose it is, and how pods are made there: as its workstation says, or its platform. */
function placeOf({ workstation, platform }: Pick<SnapshotDeclaration, "workstation" | "platform">): pulumi.Inputs {
  if (workstation === null) {
    // Without a platform there is no place; the check says so.
    return platform === undefined
      ? {}
      : { ...clusterInputs(platform), pod: packerOf(workstationPod(platform.pod, {})) };
  }
  const { kubeconfig, context, namespace, name, state, pod } = workstation.declaration;
  return { kubeconfig, context, namespace, workstation: { name, state }, pod: packerOf(pod as PackerSettings) };
}

/** What a packer has of the workstation's pod: not its image, its GPUs, and what ComfyUI needs. */
function packerOf(pod: PackerSettings): PackerSettings {
  const { agentImage, nodeSelector, tolerations, models, serviceAccount } = pod;
  const { storeCredentials, imagePullSecrets, priorityClass, user } = pod;
  return {
    ...{ agentImage, nodeSelector, tolerations, models, serviceAccount },
    ...{ storeCredentials, imagePullSecrets, priorityClass, user },
  };
}
