import { hostname } from "node:os";
import { parseArgs } from "node:util";
import type { AgentFolders } from "./folders";

/** What `agent.js instance` is started with; the defaults are a pod's. */
export interface InstanceOptions extends AgentFolders {
  /** File that says what to do, see `InstanceSpec`. @default /comfyui/instance/instance.json */
  readonly instance: string;
  /** File that Kubernetes reads when the container ends. @default /dev/termination-log */
  readonly terminationLog: string;
  /** Address that the agent listens at. @default all of the pod */
  readonly host: string | undefined;
  /** Address at which the gateway reaches ComfyUI, besides the loopback one. @default POD_IP, else the first one that leads outside */
  readonly address: string | undefined;
  /** Name of the pod. @default POD_NAME, else the host's name */
  readonly pod: string;
  /** Milliseconds for which the agent, told to end, outlives ComfyUI. @default the drain's deadline and 30 seconds */
  readonly grace: number | undefined;
  /** Milliseconds without a word of any gateway after which an empty queue alone counts as drained. @default 30 seconds */
  readonly unheard: number | undefined;
  /** Milliseconds without any sign of life after which ComfyUI is to be started again. @default 10 minutes */
  readonly longestSilence: number | undefined;
  /** Milliseconds between two looks for signs of life. @default 15 seconds */
  readonly lookInterval: number | undefined;
}

export const instanceUsage =
  "usage: agent instance [--instance FILE] [--environment DIR] [--own DIR] [--launcher DIR] [--termination-log FILE] " +
  "[--host ADDRESS] [--address ADDRESS] [--pod NAME] [--grace MS] [--unheard MS] [--longest-silence MS] [--look-interval MS]";

export function parseInstanceOptions(args: readonly string[]): InstanceOptions {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      instance: { ...text, default: "/comfyui/instance/instance.json" },
      environment: { ...text, default: "/comfyui/environment" },
      own: { ...text, default: "/comfyui/own" },
      launcher: { ...text, default: "/comfyui/launcher" },
      "termination-log": { ...text, default: "/dev/termination-log" },
      host: text,
      address: text,
      pod: text,
      grace: text,
      unheard: text,
      "longest-silence": text,
      "look-interval": text,
    },
  });
  const { instance, environment, own, launcher, host } = values;
  return {
    instance,
    environment,
    own,
    launcher,
    terminationLog: values["termination-log"],
    host,
    address: values.address ?? (process.env.POD_IP || undefined),
    pod: values.pod ?? (process.env.POD_NAME || hostname()),
    grace: milliseconds("grace", values.grace),
    unheard: milliseconds("unheard", values.unheard),
    longestSilence: milliseconds("longest-silence", values["longest-silence"]),
    lookInterval: milliseconds("look-interval", values["look-interval"]),
  };
}

/** What `agent.js workstation` is started with; the defaults are a pod's. */
export interface WorkstationOptions extends AgentFolders {
  /** File that says what to do, see `WorkstationSpec`. @default /comfyui/workstation/workstation.json */
  readonly workstation: string;
  /** File that says what a new claim is filled with, see `FillSource`; need not be there. @default /comfyui/workstation/from.json */
  readonly from: string;
  /** Folder with the token for the API server; without one, what it has to tell is told to nobody. @default the kubelet's */
  readonly account: string | undefined;
  readonly terminationLog: string;
  readonly host: string | undefined;
  /** Name of the pod. @default POD_NAME, else the host's name */
  readonly pod: string;
  /** Milliseconds for which the agent, told to end, waits for ComfyUI's end. @default the stop's deadline and 30 seconds */
  readonly grace: number | undefined;
  /** Milliseconds between two scans while nothing is known to have changed. @default 60 seconds */
  readonly scanInterval: number | undefined;
}

export const workstationUsage =
  "usage: agent workstation [--workstation FILE] [--from FILE] [--environment DIR] [--own DIR] [--launcher DIR] [--account DIR] " +
  "[--termination-log FILE] [--host ADDRESS] [--pod NAME] [--grace MS] [--scan-interval MS]";

export function parseWorkstationOptions(args: readonly string[]): WorkstationOptions {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      workstation: { ...text, default: "/comfyui/workstation/workstation.json" },
      from: { ...text, default: "/comfyui/workstation/from.json" },
      environment: { ...text, default: "/comfyui/environment" },
      own: { ...text, default: "/comfyui/own" },
      launcher: { ...text, default: "/comfyui/launcher" },
      account: text,
      "termination-log": { ...text, default: "/dev/termination-log" },
      host: text,
      pod: text,
      grace: text,
      "scan-interval": text,
    },
  });
  const { workstation, from, environment, own, launcher, account, host } = values;
  return {
    ...{ workstation, from, environment, own, launcher, account, host },
    terminationLog: values["termination-log"],
    pod: values.pod ?? (process.env.POD_NAME || hostname()),
    grace: milliseconds("grace", values.grace),
    scanInterval: milliseconds("scan-interval", values["scan-interval"]),
  };
}

function milliseconds(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (!/^\d+$/.test(value)) throw new Error(`--${name} ${JSON.stringify(value)} is not a number of milliseconds`);
  return Number(value);
}
