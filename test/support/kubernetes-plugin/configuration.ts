import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import type { Mutability } from "./replacements";

/** What a provider resource was configured to do: the arguments of `kubernetes.Provider` that the stand-in serves. */
export interface Configuration {
  readonly serverSideApply: boolean;
  readonly upsertExistingObjects: boolean;
  readonly patchForce: boolean;
  readonly deleteUnreachable: boolean;
  readonly skipUpdateUnreachable: boolean;
  readonly mutable: Mutability;
  /** Of objects that name none; empty when no kubeconfig could be read. */
  readonly namespace: string;
  readonly kubeConfig: KubeConfig | undefined;
  /** Why there is no cluster to talk to. */
  readonly unreachable: string | undefined;
}

export type Setting = (name: string) => string | undefined;

/** Reads the settings, each from the provider resource or else from its environment variable. */
export function configurationFrom(setting: Setting, environment: NodeJS.ProcessEnv): Configuration {
  const flag = (name: string, variable: string, standard: boolean) => {
    const value = setting(name) ?? environment[variable];
    return value === undefined || value === "" ? standard : value === "true";
  };
  return {
    serverSideApply: flag("enableServerSideApply", "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY", true),
    upsertExistingObjects: flag("upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS", false),
    patchForce: flag("enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE", false),
    deleteUnreachable: flag("deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE", false),
    skipUpdateUnreachable: flag("skipUpdateUnreachable", "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE", false),
    mutable: {
      configMaps: flag("enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE", false),
      secrets: flag("enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE", false),
    },
    ...connection(setting),
  };
}

function connection(setting: Setting): Pick<Configuration, "namespace" | "kubeConfig" | "unreachable"> {
  const given = setting("namespace") ?? "";
  let kubeConfig: KubeConfig;
  try {
    kubeConfig = loadKubeConfig(setting("kubeconfig"));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const unreachable = `failed to parse kubeconfig data in \`kubernetes:config:kubeconfig\`- ${reason}`;
    return { namespace: given, kubeConfig: undefined, unreachable };
  }
  try {
    choose(kubeConfig, setting("context"), setting("cluster"));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const unreachable = `unable to load Kubernetes client configuration from kubeconfig file. Make sure you have: \n\n \t • set up the provider as per https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/ \n\n ${reason}`;
    return { namespace: given, kubeConfig: undefined, unreachable };
  }
  const context = kubeConfig.getContextObject(kubeConfig.getCurrentContext());
  return { namespace: given || context?.namespace || "default", kubeConfig, unreachable: undefined };
}

/** From a path or from content; without either, what kubectl would take. */
function loadKubeConfig(given: string | undefined): KubeConfig {
  const kubeConfig = new KubeConfig();
  if (given === undefined || given === "") {
    kubeConfig.loadFromDefault();
    return kubeConfig;
  }
  const path = given.startsWith("~/") ? join(homedir(), given.slice(2)) : given;
  if (existsSync(path)) kubeConfig.loadFromFile(path);
  else if (given.includes("\n") || given.trimStart().startsWith("{")) kubeConfig.loadFromString(given);
  else throw new Error(`${given} is neither a file nor the content of a kubeconfig`);
  return kubeConfig;
}

function choose(kubeConfig: KubeConfig, context: string | undefined, cluster: string | undefined): void {
  if (context) {
    if (kubeConfig.getContextObject(context) === null) throw new Error(`context "${context}" does not exist`);
    kubeConfig.setCurrentContext(context);
  }
  const current = kubeConfig.getContextObject(kubeConfig.getCurrentContext());
  if (current === null) throw new Error("invalid configuration: no configuration has been provided");
  if (cluster) {
    kubeConfig.contexts = kubeConfig.contexts.map((one) => (one === current ? { ...one, cluster } : one));
  }
  if (kubeConfig.getCurrentCluster() === null)
    throw new Error(`cluster "${cluster ?? current.cluster}" does not exist`);
}

/** The cluster that settings lead to, as text to compare; undefined where they lead to none. */
export function activeCluster(setting: Setting): string | undefined {
  const { kubeConfig } = connection(setting);
  const cluster = kubeConfig?.getCurrentCluster();
  return cluster ? JSON.stringify(cluster) : undefined;
}
