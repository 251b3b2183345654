import type { V1Deployment, V1PersistentVolumeClaim, V1Service } from "@kubernetes/client-node";
import { defaultLayout } from "../../runtime/environment";
import { baseDirectory, comfyuiCommand, comfyuiVariables } from "../../runtime/instance";
import { images, restrictedContainer, restrictedPod } from "../../test/support/cluster";

const environment = "/comfyui/environment";
const port = 8188;
/** Seconds that a pod goes on serving while it is taken out of its Service: what is mostly recommended. */
const preStopSleep = 5;

/**
 * ComfyUI as people deploy it without this package: a Deployment with the default strategy, a readiness probe, a sleep before its end, and a
 * Service that sends a client to the same pod each time, since only that one has its prompts. A version is a folder of the claim, as
 * another image would be one.
 */
export function plainDeployment(name: string, replicas: number, version: string): V1Deployment {
  const labels = { app: name };
  const root = environment;
  const folders = Object.fromEntries(
    (["input", "output", "temp", "user"] as const).map((folder) => [folder, `/comfyui/own/${folder}`]),
  ) as Record<"input" | "output" | "temp" | "user", string>;
  const command = comfyuiCommand({
    root,
    layout: defaultLayout,
    python: `${root}/${defaultLayout.dependencies}/bin/python`,
    listen: ["0.0.0.0"],
    port,
    folders,
    arguments: [],
  });
  const variables = comfyuiVariables({ root, layout: defaultLayout }, "/usr/local/bin:/usr/bin:/bin");
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          automountServiceAccountToken: false,
          securityContext: restrictedPod,
          containers: [
            {
              name: "comfyui",
              image: images.comfyui,
              command: ["sh", "-c", `mkdir -p ${Object.values(folders).join(" ")} && exec "$@"`, "sh", ...command],
              workingDir: baseDirectory(root, defaultLayout),
              env: Object.entries({ ...variables, PYTHONDONTWRITEBYTECODE: "1" }).map(([key, value]) => ({
                name: key,
                value,
              })),
              ports: [{ containerPort: port }],
              readinessProbe: { httpGet: { path: "/system_stats", port } },
              lifecycle: { preStop: { sleep: { seconds: preStopSleep } } },
              securityContext: restrictedContainer,
              volumeMounts: [
                { name: "environments", mountPath: environment, subPath: version },
                { name: "own", mountPath: "/comfyui/own" },
                { name: "temporary", mountPath: "/tmp" },
              ],
            },
          ],
          volumes: [
            { name: "environments", persistentVolumeClaim: { claimName: name } },
            { name: "own", emptyDir: {} },
            { name: "temporary", emptyDir: {} },
          ],
        },
      },
    },
  };
}

export function plainService(name: string): V1Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ port, targetPort: port }], sessionAffinity: "ClientIP" },
  };
}

export function plainClaim(name: string, volume: string, storageClass: string): V1PersistentVolumeClaim {
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name },
    spec: {
      accessModes: ["ReadWriteMany"],
      storageClassName: storageClass,
      volumeName: volume,
      resources: { requests: { storage: "1Gi" } },
    },
  };
}

/** What `kubectl patch --type=json` takes for another version. */
export function versionPatch(version: string): string {
  const path = "/spec/template/spec/containers/0/volumeMounts/0/subPath";
  return JSON.stringify([{ op: "replace", path, value: version }]);
}
