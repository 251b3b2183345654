import { createHash } from "node:crypto";
import type * as pulumi from "@pulumi/pulumi";
import { workstationPod } from "../../../providers/declarations/pod";
import { ownerName, type PodSettings } from "../../../runtime/deployment";
import { defaultLayout } from "../../../runtime/environment";
import { labelsOf, workstationNames } from "../../../runtime/kubernetes/names";
import { modelsFolder, ports } from "../../../runtime/kubernetes/pod-places";
import { type Duration, durationSchema } from "../../../runtime/units";
import type { DevWorkstationArgs } from "../../dev-workstation-args";
import type { ClaimEnvironment } from "../../environment";
import { ClusterWorkstation, ClusterWorkstationClaim, owner } from "../../resources";
import { sdk } from "../../sdk";
import { pinOf } from "../../store";
import type { DeclaredWorkstation, WorkstationDeclaration } from "../workstation";
import { comfyuiPod } from "./comfyui-pod";
import { metadata, plugin } from "./metadata";
import { workstationPolicy } from "./network-policy";
import { clusterInputs, nativeProvider } from "./place";
import type { KubernetesPlatform } from "./platform";
import { k8s } from "./sdk";
import { uidOf } from "./uid";

/** Port of its address, unless it says otherwise. */
const usualPort = 8188;
/** Seconds for ComfyUI to end after its last prompt, and for the last scan of the environment. */
const endingSeconds = 180;

/** A pod, or none, in a namespace, on a claim that has the environment. */
export function kubernetesWorkstation(
  { name, args, child, declarations }: WorkstationDeclaration,
  platform: KubernetesPlatform,
): DeclaredWorkstation {
  const { namespace } = platform;
  const { state = "running", port = usualPort, startTimeout = "30m", stopTimeout = "10m" } = args;
  const place = { ...clusterInputs(platform), workstation: name };
  const pod = workstationPod(platform.pod, args.pod);

  // Its check speaks for all, so it comes before anything that talks to the cluster.
  const record = new ClusterWorkstationClaim(name, { ...place, owner: owner(), declarations }, child);
  const provider = nativeProvider(`${name}-cluster`, platform, { ...child, dependsOn: [record] });
  const native: pulumi.CustomResourceOptions = { ...child, provider, dependsOn: [record] };
  const here = { name, namespace, opts: native };

  const { claimName, resources: claims } = environmentClaim(here, claimOf(args));
  const { account, resources: rights } = agentRights(here, pod.serviceAccount);
  workstationPolicy(name, namespace, pod.serviceAccount ?? null, native);
  const { programs } = record;
  const deployment = workstationPods({
    ...here,
    args,
    pod,
    programs,
    claimName,
    account,
    after: [...claims, ...rights],
  });
  const address = workstationAddress(here, port);
  new ClusterWorkstation(
    name,
    { ...place, owner: owner(), state, deployment: uidOf(deployment), pod, startTimeout, stopTimeout },
    { ...child, dependsOn: [deployment, address] },
  );
  const url = `http://${workstationNames(name).workstation}.${namespace}.svc${port === 80 ? "" : `:${port}`}`;
  return { url: sdk.output(url), declaration: { ...clusterInputs(platform), name, state, claim: claimName, pod } };
}

interface Here {
  readonly name: string;
  readonly namespace: string;
  readonly opts: pulumi.CustomResourceOptions;
}

const metaOf = ({ name, namespace }: Here, object: string, annotations: Readonly<Record<string, string>> = {}) =>
  metadata(object, name, namespace, "workstation", { annotations });

/** A folder of this machine is a problem that the check reports. */
function claimOf({ environment }: DevWorkstationArgs): ClaimEnvironment {
  return typeof environment === "object" && "kind" in environment ? environment : { kind: "claim" };
}

/** The claim that is there, or one that is made and goes with the workstation. */
function environmentClaim(here: Here, environment: ClaimEnvironment) {
  if (environment.name !== undefined) return { claimName: environment.name, resources: [] };
  const { size = "0", storageClass, accessMode = "ReadWriteOnce" } = environment;
  const claimName = workstationNames(here.name).environment;
  const claim = new (k8s().core.v1.PersistentVolumeClaim)(
    `${here.name}-environment`,
    {
      metadata: metaOf(here, claimName, plugin.noWait),
      spec: {
        accessModes: [accessMode],
        ...(storageClass === undefined ? {} : { storageClassName: storageClass }),
        resources: { requests: { storage: size } },
      },
    },
    here.opts,
  );
  return { claimName, resources: [claim] };
}

/** The agent's small rights: what it tells, and how many pods its own Deployment has. */
function agentRights(here: Here, serviceAccount: string | null) {
  const { name, namespace, opts } = here;
  const { workstation } = workstationNames(name);
  const made =
    serviceAccount === null
      ? [
          new (k8s().core.v1.ServiceAccount)(
            `${name}-workstation`,
            { metadata: metaOf(here, workstation), automountServiceAccountToken: false },
            opts,
          ),
        ]
      : [];
  const account = serviceAccount ?? workstation;
  const role = new (k8s().rbac.v1.Role)(
    `${name}-workstation`,
    {
      metadata: metaOf(here, workstation),
      rules: [
        { apiGroups: [""], resources: ["configmaps"], resourceNames: [workstation], verbs: ["get", "patch"] },
        // A right to create cannot be bound to a name.
        { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
        {
          apiGroups: ["apps"],
          resources: ["deployments/scale"],
          resourceNames: [workstation],
          verbs: ["get", "patch"],
        },
      ],
    },
    opts,
  );
  const binding = new (k8s().rbac.v1.RoleBinding)(
    `${name}-workstation`,
    {
      metadata: metaOf(here, workstation),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: workstation },
      subjects: [{ kind: "ServiceAccount", name: account, namespace }],
    },
    { ...opts, dependsOn: [role, ...made] },
  );
  return { account, resources: [...made, role, binding] };
}

interface Pods extends Here {
  readonly args: DevWorkstationArgs;
  readonly pod: PodSettings;
  readonly programs: pulumi.Input<string>;
  readonly claimName: string;
  readonly account: string;
  readonly after: readonly pulumi.Resource[];
}

/** One pod or none. How many is `ClusterWorkstation`'s to say, and the agent's when nobody uses it. */
function workstationPods({ args, pod, programs, claimName, account, after, ...here }: Pods) {
  const { name, opts } = here;
  const names = workstationNames(name);
  const { stopTimeout = "10m", environmentVariables = {} } = args;
  const settings = settingsOf(name, args, pod);
  const from = args.from === undefined ? null : pinOf(args.from);
  const told = new (k8s().core.v1.ConfigMap)(
    `${name}-settings`,
    {
      metadata: metaOf(here, names.settings),
      data: {
        "workstation.json": settings,
        // Apart, since it changes nothing of a workstation that has its environment.
        ...(from === null
          ? {}
          : {
              "from.json": sdk
                .output(from.reference)
                .apply((reference) => JSON.stringify({ reference, store: from.store ?? {} })),
            }),
      },
    },
    opts,
  );
  const variables = new (k8s().core.v1.Secret)(
    `${name}-environment-variables`,
    { metadata: metaOf(here, names.workstation), stringData: sdk.secret(environmentVariables) },
    opts,
  );
  const labels = labelsOf(name, "workstation");
  return new (k8s().apps.v1.Deployment)(
    `${name}-workstation`,
    {
      metadata: metaOf(here, names.workstation, plugin.waitForUid),
      spec: {
        replicas: 0,
        revisionHistoryLimit: 0,
        // How long it may take is `ClusterWorkstation`'s to say.
        progressDeadlineSeconds: 2_147_483_647,
        // Two on one environment would write to the same folders.
        strategy: { type: "Recreate" },
        selector: { matchLabels: labels },
        template: {
          metadata: {
            labels,
            annotations: {
              // On EKS, whoever assumes the pod's role is the agent only: plugins are strangers' code.
              "eks.amazonaws.com/skip-containers": "comfyui",
              // What it is started with is read at a start: a change is a new pod.
              "pulumi-comfyui/settings": createHash("sha256").update(settings).digest("hex"),
              "pulumi-comfyui/variables": variables.metadata.resourceVersion,
            },
          },
          spec: {
            ...comfyuiPod({
              mode: "workstation",
              ...{ pod, programs, variables: names.workstation, told: names.settings, agentAccount: account },
              grace: Math.ceil((milliseconds(stopTimeout) ?? 0) / 1000) + endingSeconds,
              environment: { persistentVolumeClaim: { claimName } },
              storage: args.pod?.storage,
              agentEnvironment: [{ name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }],
            }),
          },
        },
      },
    },
    { ...opts, dependsOn: [told, variables, ...after], ignoreChanges: ["spec.replicas"] },
  );
}

/** `workstation.json`: what the agent is told. */
function settingsOf(name: string, args: DevWorkstationArgs, { models }: PodSettings): string {
  const { idleStop, stopTimeout = "10m" } = args;
  return JSON.stringify({
    workstation: name,
    owner: ownerName(owner()),
    layout: { ...defaultLayout, ...claimOf(args).layout },
    models: models === null ? null : modelsFolder,
    arguments: args.arguments ?? [],
    idleStop: milliseconds(idleStop),
    stopDeadline: milliseconds(stopTimeout),
    ports: { comfyui: ports.comfyui, agent: ports.agent, relay: ports.relay },
  });
}

/** Null for none, and for what is none: the check reports that before anything is made of it. */
function milliseconds(duration: Duration | undefined): number | null {
  return durationSchema.safeParse(duration).data ?? null;
}

function workstationAddress(here: Here, port: number) {
  const { workstation } = workstationNames(here.name);
  return new (k8s().core.v1.Service)(
    `${here.name}-workstation`,
    {
      metadata: metaOf(here, workstation, plugin.noWait),
      spec: {
        selector: labelsOf(here.name, "workstation"),
        ports: [{ name: "http", port, targetPort: ports.relay, appProtocol: "http" }],
      },
    },
    here.opts,
  );
}
