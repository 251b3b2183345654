import { createHash } from "node:crypto";
import type { V1Affinity, V1Job, V1PodSpec } from "@kubernetes/client-node";
import { type Owner, ownerName, type PodSettings } from "../deployment";
import { annotationsOf, labelsOf, snapshotLabel } from "./names";
import { containers } from "./pod-phase";
import { podSecurity, restricted } from "./pod-security";
import { programHash } from "./program";
import { programCommand, programPlaces } from "./program-places";

/** Where the agent of a packing Job finds things: the defaults of its options, and the workstation's own folders. */
const places = {
  environment: "/comfyui/environment",
  models: "/comfyui/models",
  pack: "/comfyui/pack",
  index: "/comfyui/index",
} as const;

/** Seconds for which a Job that has ended is kept where nobody takes it away. */
const keptSeconds = 600;
/** Seconds that a pod stays bound to a node which does not answer. */
const unreachableSeconds = 30;

export const specAnnotation = "pulumi-comfyui/spec";
/** Which run follows a Job: the last one that adopted it. */
export const runAnnotation = "pulumi-comfyui/run";

/** What of a workstation's pod its packer has as well. */
export type PackerSettings = Pick<
  PodSettings,
  | "agentImage"
  | "nodeSelector"
  | "tolerations"
  | "models"
  | "serviceAccount"
  | "storeCredentials"
  | "imagePullSecrets"
  | "priorityClass"
  | "user"
>;

export interface PackingJob {
  readonly workstation: string;
  readonly owner: Owner;
  /** The URN of the snapshot that it is for: only Jobs of the same one are adopted, or removed as left over. */
  readonly snapshot: string;
  /** Identity of the content that is to be packed. */
  readonly contentId: string;
  readonly claim: string;
  readonly pod: PackerSettings;
  /** Requests and limits of its container. */
  readonly resources: {
    readonly requests: Readonly<Record<string, string>>;
    readonly limits: Readonly<Record<string, string>>;
  };
  /** `pack.json`: what its agent is told. */
  readonly spec: string;
  /** Milliseconds after which Kubernetes ends it. */
  readonly timeout: number;
}

const shortHash = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 12);

/** What tells the Jobs of one snapshot from those of others in its namespace. */
export function packerLabels({ workstation, owner, snapshot }: Pick<PackingJob, "workstation" | "owner" | "snapshot">) {
  return { ...labelsOf(workstation, "packer"), [snapshotLabel]: shortHash(`${ownerName(owner)} ${snapshot}`) };
}

/** By the content and the snapshot that it is for: several snapshots of one workstation may be packed at once. */
export function packingJobName(job: PackingJob): string {
  return `${job.workstation}-pack-${shortHash(`${job.contentId} ${packerLabels(job)[snapshotLabel]}`)}`;
}

/** Names of its ConfigMaps: of one Job each, since one of the same name may be about to go with its Job. */
export function packingObjects(name: string, run: string) {
  return { told: `${name}-${run}`, program: `${name}-${run}-program` };
}

/** Two Jobs with the same identity do the same; where its pod has to be may differ. */
export function packingIdentity(job: PackingJob): string {
  const { contentId, claim, pod, resources, spec, timeout } = job;
  return createHash("sha256")
    .update(JSON.stringify([programHash(), contentId, claim, pod, resources, spec, timeout]))
    .digest("hex");
}

/** The Job that packs a claim's content; `node`: where its pod has to be. */
export function packingJob(job: PackingJob, run: string, node: string | null): V1Job {
  const { owner, timeout } = job;
  const labels = packerLabels(job);
  const annotations = { ...annotationsOf(owner), [specAnnotation]: packingIdentity(job), [runAnnotation]: run };
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: packingJobName(job), labels, annotations },
    spec: {
      // What has failed is shown, and what was lost is begun anew, by whoever follows it.
      backoffLimit: 0,
      activeDeadlineSeconds: Math.ceil(timeout / 1000),
      ttlSecondsAfterFinished: keptSeconds,
      template: { metadata: { labels, annotations: annotationsOf(owner) }, spec: packerPod(job, run, node) },
    },
  };
}

function packerPod(job: PackingJob, run: string, node: string | null): V1PodSpec {
  const { claim, pod, resources } = job;
  const { models, serviceAccount, storeCredentials, priorityClass, user } = pod;
  const { told, program } = packingObjects(packingJobName(job), run);
  return {
    restartPolicy: "Never",
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...(serviceAccount === null ? {} : { serviceAccountName: serviceAccount }),
    ...(priorityClass === null ? {} : { priorityClassName: priorityClass }),
    ...(node === null ? {} : { affinity: onNode(node) }),
    imagePullSecrets: pod.imagePullSecrets.map((name) => ({ name })),
    nodeSelector: { ...pod.nodeSelector },
    tolerations: [
      ...pod.tolerations.map((toleration) => ({ ...toleration })),
      ...["not-ready", "unreachable"].map((condition) => ({
        key: `node.kubernetes.io/${condition}`,
        operator: "Exists",
        effect: "NoExecute",
        tolerationSeconds: unreachableSeconds,
      })),
    ],
    securityContext: podSecurity(user),
    containers: [
      {
        name: containers.agent,
        image: pod.agentImage,
        command: programCommand("agent.js", ["pack"]),
        ...(storeCredentials === null ? {} : { envFrom: [{ secretRef: { name: storeCredentials } }] }),
        resources: { requests: { ...resources.requests }, limits: { ...resources.limits } },
        securityContext: { ...restricted, readOnlyRootFilesystem: true },
        volumeMounts: [
          { name: "program", mountPath: programPlaces.folder, readOnly: true },
          { name: "run", mountPath: programPlaces.unpacked },
          { name: "told", mountPath: places.pack, readOnly: true },
          { name: "index", mountPath: places.index },
          { name: "temporary", mountPath: "/tmp" },
          { name: "environment", mountPath: places.environment, readOnly: true },
          ...(models === null
            ? []
            : [{ name: "models", mountPath: places.models, subPath: models.folder, readOnly: true }]),
        ],
      },
    ],
    volumes: [
      { name: "program", configMap: { name: program } },
      { name: "run", emptyDir: { sizeLimit: "64Mi" } },
      { name: "told", configMap: { name: told } },
      { name: "index", emptyDir: {} },
      { name: "temporary", emptyDir: {} },
      // Not `readOnly` here: volumes of some kinds could not be attached beside the workstation's pod then.
      { name: "environment", persistentVolumeClaim: { claimName: claim } },
      ...(models === null
        ? []
        : [{ name: "models", persistentVolumeClaim: { claimName: models.claim, readOnly: true } }]),
    ],
  };
}

/** By the scheduler, not around it: room for the pod is counted, and a claim that waits for its first pod gets it. */
function onNode(node: string): V1Affinity {
  const matchFields = [{ key: "metadata.name", operator: "In", values: [node] }];
  return { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields }] } } };
}

/** The token in the names of a Job's ConfigMaps. */
export function objectsRunOf({ metadata, spec }: V1Job): string {
  const told = spec?.template.spec?.volumes?.find(({ name }) => name === "told")?.configMap?.name ?? "";
  return told.slice((metadata?.name ?? "").length + 1);
}
