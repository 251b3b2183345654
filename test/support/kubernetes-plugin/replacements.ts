import { at, type Values } from "../plugin-base/values";
import { apiVersionOf, kindOf } from "./objects";

// What cannot be changed in place, by kind; a property stands for all below it. As the plugin's table has it:
// provider/pkg/provider/diff.go of pulumi/pulumi-kubernetes.
const container = [
  "args",
  "command",
  "env",
  "imagePullPolicy",
  "lifecycle",
  "livenessProbe",
  "ports",
  "readinessProbe",
  "resources",
  "securityContext",
  "stdin",
  "stdinOnce",
  "terminationMessagePath",
  "terminationMessagePolicy",
  "tty",
  "volumeDevices",
  "volumeMounts",
  "workingDir",
  "image",
];

const pod = [
  "affinity",
  "automountServiceAccountToken",
  "dnsConfig",
  "dnsPolicy",
  "enableServiceLinks",
  "hostAliases",
  "hostIPC",
  "hostNetwork",
  "hostPID",
  "hostname",
  "imagePullSecrets",
  "nodeName",
  "nodeSelector",
  "overhead",
  "preemptionPolicy",
  "priority",
  "priorityClassName",
  "readinessGates",
  "restartPolicy",
  "runtimeClassName",
  "schedulerName",
  "securityContext",
  "serviceAccount",
  "serviceAccountName",
  "shareProcessNamespace",
  "subdomain",
  "terminationGracePeriodSeconds",
  "volumes",
];

const table: Readonly<Record<string, readonly string[]>> = {
  "apps/v1/DaemonSet": ["spec.selector"],
  "apps/v1/Deployment": ["spec.selector"],
  "apps/v1/StatefulSet": [
    "spec.podManagementPolicy",
    "spec.revisionHistoryLimit",
    "spec.selector",
    "spec.serviceName",
    "spec.volumeClaimTemplates",
  ],
  "batch/v1/Job": ["spec.completions", "spec.parallelism", "spec.selector", "spec.template"],
  "rbac.authorization.k8s.io/v1/ClusterRoleBinding": ["roleRef"],
  "rbac.authorization.k8s.io/v1/RoleBinding": ["roleRef"],
  "storage.k8s.io/v1/StorageClass": ["parameters", "provisioner"],
  "v1/PersistentVolume": ["spec.csi", "spec.hostPath", "spec.local", "spec.nfs"],
  "v1/PersistentVolumeClaim": ["spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"],
  "v1/Pod": [
    ...pod.map((property) => `spec.${property}`),
    ...container.map((property) => `spec.containers[*].${property}`),
    ...container.map((property) => `spec.initContainers[*].${property}`),
  ],
  "v1/ResourceQuota": ["spec.scopes"],
  "v1/Secret": ["type"],
  "v1/Service": ["spec.clusterIP"],
};

export interface Mutability {
  readonly configMaps: boolean;
  readonly secrets: boolean;
}

/** The properties that take a new object when they change. ConfigMaps and Secrets are replaced unless the provider says otherwise. */
export function replacedWhenChanged(object: Values, mutable: Mutability): readonly string[] {
  const key = `${apiVersionOf(object)}/${kindOf(object)}`;
  const immutable = at(object, "immutable") === true;
  const properties = ["metadata.name", "metadata.namespace", ...(table[key] ?? [])];
  if (key === "v1/ConfigMap" && (!mutable.configMaps || immutable)) properties.push("data", "binaryData");
  if (key === "v1/Secret" && (!mutable.secrets || immutable)) properties.push("data", "stringData");
  return properties;
}
