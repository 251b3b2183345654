import type { PodSettings } from "../../../runtime/deployment";
import { nodeCacheFolder } from "../../../runtime/kubernetes/pod-places";

const volumeName = "node-cache";

/** Where the volume is mounted in containers that get it. */
export const nodeCacheMount = { name: volumeName, mountPath: nodeCacheFolder };

/** A folder of the node for each user: what one has written, another could not remove. */
export function nodeCacheVolume({ path }: NonNullable<PodSettings["nodeCache"]>, user: number) {
  return { name: volumeName, hostPath: { path: `${path}/${user}`, type: "DirectoryOrCreate" } };
}

/**
 * Makes the folder over to the pods' user. The kubelet makes it as root's, and `fsGroup` does not apply to folders of a node. Where that cannot be, the
 * agent says so and does without: it is no reason for an instance not to start.
 */
const script = `
const { chmodSync, chownSync, statSync } = require("node:fs");
const [, folder, id] = process.argv;
try {
  if (statSync(folder).uid !== Number(id)) {
    chmodSync(folder, 0o700);
    chownSync(folder, Number(id), Number(id));
  }
} catch (error) {
  console.error(\`\${folder} cannot be made over to user \${id}: \${error.message}\`);
}
`;

/** The only container that is root: before all others, with no rights but to change owners, and nothing but that folder. */
export function prepareNodeCache(image: string, user: number) {
  return {
    name: volumeName,
    image,
    command: ["node", "-e", script, nodeCacheFolder, String(user)],
    resources: { requests: { cpu: "10m", memory: "64Mi" } },
    securityContext: {
      runAsUser: 0,
      runAsGroup: 0,
      runAsNonRoot: false,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"], add: ["CHOWN"] },
      readOnlyRootFilesystem: true,
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePolicy: "FallbackToLogsOnError",
    volumeMounts: [nodeCacheMount],
  };
}
