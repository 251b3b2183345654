import { createHash } from "node:crypto";
import type * as pulumi from "@pulumi/pulumi";
import type { Duration, Size } from "../runtime/units";
import { declare } from "./declarations";
import type { Platform } from "./platforms";
import { Gateway, HealthGate, Instances, owner, Release, ServiceClaim, TrafficSwitch } from "./resources";
import type { Scaling } from "./scaling";
import { sdk } from "./sdk";
import { pinOf, type SnapshotPin } from "./store";

/** Characters of the shortest API key that is accepted. */
const shortestKey = 16;

/** A workflow in ComfyUI's API format (Workflow → Export (API)): node id → class and inputs. */
export type Workflow = Readonly<
  Record<string, { readonly class_type: string; readonly inputs: Readonly<Record<string, unknown>> }>
>;

/** What proves an instance. Every field but `timeout` is part of a release: changing it is a rotation. */
export interface HealthArgs {
  /** How long all instances of a release together may take until they are proven. Changing it changes nothing that runs: it counts the next time that they are waited for. @default "10m" */
  readonly timeout?: Duration;
  /** How long one instance may take until it answers, once its environment is restored. @default "5m" */
  readonly startTimeout?: Duration;
  /** How long an instance must go on answering once all else is proven. @default "5s" */
  readonly stableFor?: Duration;
  /** Workflow that must run to a result: itself, or the path of its file, relative to the program's folder. @default none */
  readonly smoke?: string | Workflow;
  /** How long the smoke workflow may take. @default "5m" */
  readonly smokeTimeout?: Duration;
  /** Plugins that may fail to load, by their name in `custom_nodes`. @default [] */
  readonly acceptFailing?: readonly string[];
}

/** How instances that have to go finish their work. Changes in place, also for instances that drain already. */
export interface DrainArgs {
  /** How long an instance may take to empty its queue. @default "30m" */
  readonly deadline?: Duration;
  /**
   * What happens at the deadline. `"keep"`: the update fails, the instance stays until its work is done, and the next
   * `pulumi up` asks again. `"stop"`: the instance is ended and its prompts are reported as failed.
   * @default "keep"
   */
  readonly onDeadline?: "keep" | "stop";
}

/** The reverse proxy in front of a service. Changes in place. */
export interface GatewayArgs {
  /** Port on the loopback interface. @default one that is free, chosen once and remembered */
  readonly port?: number;
  /** Keys of which a request must carry one (`Authorization: Bearer …` or `X-API-Key`). Only their hashes are kept. @default everybody is let in */
  readonly apiKeys?: pulumi.Input<readonly pulumi.Input<string>[]>;
  /** Largest request body, uploads included. @default "100 MiB" */
  readonly maximumBodySize?: Size;
  /** How long results of instances that have gone can still be fetched. @default "1h" */
  readonly resultRetention?: Duration;
  /** How much disk such results and uploads may take together; the oldest go first. @default "10 GiB" */
  readonly maximumSpoolSize?: Size;
}

/** Arguments of {@link OnlineService}. */
export interface OnlineServiceArgs {
  /** Where it runs. Changing it makes a new service there and ends the old one. */
  readonly platform: Platform;
  /**
   * A `Snapshot`, its `reference`, or a pinned `<store>#sha256:<digest>`; with what its store in S3 needs to be told, `{ reference, store }`.
   * Changing it is a rotation; pinning an earlier one is a rollback.
   */
  readonly snapshot: pulumi.Input<string> | SnapshotPin;
  /** How many instances. Changes in place: no rotation. */
  readonly scaling: Scaling;
  /** Folder of the model files. Changing it is a rotation. @default the one that the snapshot recorded */
  readonly models?: string;
  /** Further command-line arguments of ComfyUI. Changing them is a rotation. @default [] */
  readonly arguments?: readonly string[];
  /** Environment variables of ComfyUI. Changing them is a rotation. @default {} */
  readonly environmentVariables?: Readonly<Record<string, pulumi.Input<string>>>;
  /** What proves an instance before it gets traffic. */
  readonly health?: HealthArgs;
  /** How instances that have to go finish their work. */
  readonly drain?: DrainArgs;
  /** The reverse proxy in front of the service. */
  readonly gateway?: GatewayArgs;
  /** Takes the service's name over from another stack that owns it. @default false */
  readonly takeover?: boolean;
}

/**
 * ComfyUI as users get it: instances that start from a snapshot, behind one address. A changed snapshot rotates it: new
 * instances start, are proven, get the traffic, and the old ones finish their work and go.
 *
 *     const service = new OnlineService("studio", { platform, snapshot, scaling: fixed(2) });
 */
export class OnlineService extends sdk.ComponentResource {
  /** Where users reach the service. Stays the same over rotations. */
  readonly url: pulumi.Output<string>;
  /** Id of the release that is declared, `r<revision>-<random>`. */
  readonly release: pulumi.Output<string>;

  constructor(name: string, args: OnlineServiceArgs, opts?: pulumi.ComponentResourceOptions) {
    super("comfyui:index:OnlineService", name, {}, opts);
    const declarations = declare("OnlineService", name, declared(args));
    const child = { parent: this };

    const claim = new ServiceClaim(name, { ...claimInputs(name, args), owner: owner(), declarations }, child);
    const afterClaim = { ...child, dependsOn: [claim] };

    // A rotation replaces these: protecting the service protects its claim, gateway and traffic, and does not prevent rotations.
    const rotating = { ...child, protect: false };

    const gateway = new Gateway(name, { ...gatewayInputs(name, args), owner: owner() }, afterClaim);
    const release = new Release(
      name,
      { ...releaseInputs(name, args), owner: owner() },
      { ...rotating, dependsOn: [claim] },
    );
    const common = { ...addressOf(name, args), release: release.id };
    const instances = new Instances(name, { ...common, count: args.scaling.count }, rotating);
    // Drained instances need the gateway to the end, so it goes after the gate.
    const gate = new HealthGate(
      name,
      { ...common, ...gateInputs(args) },
      { ...rotating, dependsOn: [instances, gateway] },
    );
    new TrafficSwitch(name, { ...common, owner: owner() }, { ...child, dependsOn: [gate, gateway] });

    this.url = gateway.url;
    this.release = release.id;
    this.registerOutputs({ url: this.url, release: this.release });
  }
}

/** What is declared is looked at by every check of the program: no place for keys. */
function declared({ gateway, snapshot, ...rest }: OnlineServiceArgs): object {
  const { reference, store } = pinOf(snapshot);
  const args = { ...rest, snapshot: reference, store };
  if (gateway === undefined) return args;
  const { apiKeys: _, ...plain } = gateway;
  return { ...args, gateway: plain };
}

function addressOf(name: string, { platform }: OnlineServiceArgs): pulumi.Inputs {
  return { directory: platform.directory, service: name };
}

function claimInputs(name: string, args: OnlineServiceArgs): pulumi.Inputs {
  return { ...addressOf(name, args), takeover: args.takeover, drain: args.drain };
}

function gatewayInputs(name: string, args: OnlineServiceArgs): pulumi.Inputs {
  const {
    port,
    apiKeys,
    maximumBodySize = "100 MiB",
    resultRetention = "1h",
    maximumSpoolSize = "10 GiB",
  } = args.gateway ?? {};
  return {
    ...addressOf(name, args),
    port,
    apiKeyHashes: apiKeys === undefined ? undefined : sdk.secret(apiKeys).apply(hashes),
    maximumBodySize,
    resultRetention,
    maximumSpoolSize,
  };
}

export function hashes(keys: readonly string[]): readonly string[] {
  if (keys.length === 0) throw new Error("gateway.apiKeys has no key: name one, or leave it out to let everybody in");
  const tooShort = keys.findIndex((key) => key.length < shortestKey);
  if (tooShort !== -1) {
    throw new Error(`gateway.apiKeys[${tooShort}] is shorter than ${shortestKey} characters: it could be guessed`);
  }
  return keys.map((key) => createHash("sha256").update(key).digest("hex"));
}

function releaseInputs(name: string, args: OnlineServiceArgs): pulumi.Inputs {
  const { timeout: _, ...health } = args.health ?? {};
  return {
    ...addressOf(name, args),
    snapshot: pinOf(args.snapshot).reference,
    store: pinOf(args.snapshot).store,
    models: args.models,
    arguments: args.arguments,
    environmentVariables: args.environmentVariables,
    health,
  };
}

function gateInputs({ scaling, health }: OnlineServiceArgs): pulumi.Inputs {
  return { count: scaling.count, timeout: health?.timeout ?? "10m" };
}
