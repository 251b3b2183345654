import type * as pulumi from "@pulumi/pulumi";
import { labelsOf, objectNames } from "../../../runtime/kubernetes/names";
import { ports } from "../../../runtime/kubernetes/pod-places";
import { podSecurity, restricted } from "../../../runtime/kubernetes/pod-security";
import { durationSchema, sizeSchema } from "../../../runtime/units";
import { apiKeyHashes } from "../../api-keys";
import type { GatewayArgs } from "../../online-service-args";
import { sdk } from "../../sdk";
import { entrance as frontEntrance, gatewayTimes } from "./entrance";
import { metadata, plugin } from "./metadata";
import { programMounts, programVolumes, runProgram } from "./program";
import { k8s } from "./sdk";

const podPort = ports.gateway;
/** User of the gateway's pods. */
const user = 1000;

export interface GatewayDeclaration {
  readonly name: string;
  readonly namespace: string;
  readonly image: string;
  /** Name of the ConfigMap with the programs. */
  readonly programs: pulumi.Input<string>;
  readonly args: GatewayArgs;
  readonly opts: pulumi.CustomResourceOptions;
}

/** Two gateways, of which one leads, behind an address that stays. Returns it, and what has to be there while instances drain. */
export function gateway({ name, namespace, image, programs, args, opts }: GatewayDeclaration) {
  const names = objectNames(name);
  const { port = podPort, service = {}, ingress, entrance } = args;
  const times = gatewayTimes(entrance);
  const meta = (annotations: Readonly<Record<string, string>> = {}, object = names.gateway) =>
    metadata(object, name, namespace, "gateway", { annotations });
  const labels = labelsOf(name, "gateway");

  const settings = new (k8s().core.v1.Secret)(
    `${name}-gateway`,
    { metadata: meta(), stringData: { "settings.json": settingsText(args) } },
    opts,
  );
  const access = accessRights(name, namespace, opts);
  const deployment = new (k8s().apps.v1.Deployment)(
    `${name}-gateway`,
    {
      metadata: meta(plugin.waitForUid, name),
      spec: {
        replicas: 2,
        revisionHistoryLimit: 1,
        strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            serviceAccountName: names.gateway,
            enableServiceLinks: false,
            securityContext: podSecurity(user),
            terminationGracePeriodSeconds: times.grace,
            topologySpreadConstraints: [
              {
                maxSkew: 1,
                topologyKey: "kubernetes.io/hostname",
                whenUnsatisfiable: "ScheduleAnyway",
                labelSelector: { matchLabels: labels },
              },
            ],
            containers: [
              {
                name: "gateway",
                image,
                command: runProgram("gateway.js", [
                  ...["kubernetes", "--service", name, "--port", String(podPort), "--folder", "/comfyui/spool"],
                  ...times.parameters,
                ]),
                env: [
                  { name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
                  { name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
                  { name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
                ],
                ports: [{ name: "http", containerPort: podPort }],
                readinessProbe: {
                  httpGet: { path: "/_gateway/ready", port: podPort },
                  periodSeconds: 1,
                  failureThreshold: 2,
                },
                resources: { requests: { cpu: "100m", memory: "256Mi" } },
                securityContext: { ...restricted, readOnlyRootFilesystem: true },
                terminationMessagePolicy: "FallbackToLogsOnError",
                volumeMounts: [
                  ...programMounts,
                  { name: "spool", mountPath: "/comfyui/spool" },
                  { name: "temporary", mountPath: "/tmp" },
                ],
              },
            ],
            volumes: [
              ...programVolumes(programs),
              { name: "spool", emptyDir: {} },
              { name: "temporary", emptyDir: {} },
            ],
          },
        },
      },
    },
    { ...opts, dependsOn: [settings, ...access] },
  );
  const address = new (k8s().core.v1.Service)(
    `${name}-gateway`,
    {
      metadata: meta({ ...plugin.noWait, ...service.annotations }, name),
      spec: {
        type: service.type ?? "ClusterIP",
        selector: labels,
        ports: [{ name: "http", port, targetPort: podPort, appProtocol: "http" }],
        ...(service.loadBalancerSourceRanges === undefined
          ? {}
          : { loadBalancerSourceRanges: [...service.loadBalancerSourceRanges] }),
      },
    },
    opts,
  );
  const budget = new (k8s().policy.v1.PodDisruptionBudget)(
    `${name}-gateway`,
    { metadata: meta(plugin.noWait, name), spec: { maxUnavailable: 1, selector: { matchLabels: labels } } },
    opts,
  );
  const own: pulumi.Resource[] = [deployment, address, budget];
  if (ingress !== undefined) {
    const { host, className, tlsSecret, annotations } = ingress;
    const front = new (k8s().networking.v1.Ingress)(
      `${name}-gateway`,
      {
        metadata: meta({ ...plugin.noWait, ...annotations }, name),
        spec: {
          ...(className === undefined ? {} : { ingressClassName: className }),
          ...(tlsSecret === undefined ? {} : { tls: [{ hosts: [host], secretName: tlsSecret }] }),
          rules: [
            {
              host,
              http: {
                paths: [{ path: "/", pathType: "Prefix", backend: { service: { name, port: { number: port } } } }],
              },
            },
          ],
        },
      },
      { ...opts, dependsOn: [address] },
    );
    own.push(front);
  }
  warnOfOpenWays(args, address);
  const way = entrance === undefined ? null : frontEntrance({ name, namespace, entrance, address, port, opts });
  if (way !== null) own.push(way.resource);
  // Where a person outside reaches it is the load balancer's or the ingress controller's to say.
  const inside = ingress === undefined ? insideUrl(name, namespace, args) : `https://${ingress.host}`;
  return { url: way?.url ?? sdk.output(inside), resources: own };
}

/** Ways in that may be open to more people than they should be. What is so for certain is refused by the declaration's check. */
function warnOfOpenWays({ service = {}, ingress, apiKeys }: GatewayArgs, address: pulumi.Resource): void {
  const type = service.type ?? "ClusterIP";
  const open = [
    ...(ingress === undefined ? [] : ["gateway.ingress"]),
    ...(type === "ClusterIP" || service.allowPublicWithoutAuthentication === true
      ? []
      : [`gateway.service.type ${JSON.stringify(type)}`]),
  ];
  if (open.length === 0 || apiKeys !== undefined) return;
  const lead = open.length === 1 ? "leads" : "lead";
  const reason = `${open.join(" and ")} ${lead} in from outside of the cluster, and without gateway.apiKeys everybody who gets there is let in`;
  void sdk.log.warn(`${reason}: who runs workflows runs the plugins' code`, address);
}

/** Where the cluster's own pods reach the gateway. */
export function insideUrl(name: string, namespace: string, { port = podPort }: GatewayArgs): string {
  return `http://${name}.${namespace}.svc${port === 80 ? "" : `:${port}`}`;
}

function settingsText(args: GatewayArgs): pulumi.Output<string> {
  const { maximumBodySize = "100 MiB", resultRetention = "1h", maximumSpoolSize = "10 GiB" } = args;
  return sdk.secret(apiKeyHashes(args) ?? []).apply((hashes) =>
    JSON.stringify({
      apiKeyHashes: hashes,
      maximumBodySize: sizeSchema.parse(maximumBodySize),
      resultRetention: durationSchema.parse(resultRetention),
      maximumSpoolSize: sizeSchema.parse(maximumSpoolSize),
    }),
  );
}

/** The gateway's own, small rights: what it has to read and to write, by name where a rule can have names. */
function accessRights(name: string, namespace: string, opts: pulumi.CustomResourceOptions) {
  const names = objectNames(name);
  const meta = () => metadata(names.gateway, name, namespace, "gateway");
  const account = new (k8s().core.v1.ServiceAccount)(`${name}-gateway`, { metadata: meta() }, opts);
  const role = new (k8s().rbac.v1.Role)(
    `${name}-gateway`,
    {
      metadata: meta(),
      rules: [
        {
          apiGroups: [""],
          resources: ["configmaps"],
          resourceNames: [names.target],
          verbs: ["get", "list", "watch"],
        },
        {
          apiGroups: [""],
          resources: ["configmaps"],
          resourceNames: [names.gatewayStatus],
          verbs: ["get", "update"],
        },
        { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
        {
          apiGroups: [""],
          resources: ["secrets"],
          resourceNames: [names.gateway, names.deployer],
          verbs: ["get", "list", "watch"],
        },
        { apiGroups: [""], resources: ["pods"], verbs: ["list", "watch", "patch"] },
        {
          apiGroups: ["coordination.k8s.io"],
          resources: ["leases"],
          resourceNames: [names.lease],
          verbs: ["get", "list", "watch", "update"],
        },
        { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
      ],
    },
    opts,
  );
  const binding = new (k8s().rbac.v1.RoleBinding)(
    `${name}-gateway`,
    {
      metadata: meta(),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: names.gateway },
      subjects: [{ kind: "ServiceAccount", name: names.gateway, namespace }],
    },
    { ...opts, dependsOn: [role, account] },
  );
  return [account, role, binding];
}
