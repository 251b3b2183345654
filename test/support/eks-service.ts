import { waitFor } from "../../runtime/waiting";
import { ClusterServices } from "./cluster-service";
import { FakeAws, labMachines } from "./fake-aws";
import type { PluginSource } from "./stand-in";
import { useStandInPlugin } from "./stand-in-plugin";

const program = `
const { readFileSync } = require("node:fs");
const { GpuNodeGroup, OnlineService, fixed, kubernetes, perRelease, shared } = require("pulumi-comfyui");
const { platform, services, nodeGroups } = JSON.parse(readFileSync("declaration.json", "utf8"));
const groups = Object.fromEntries(nodeGroups.map(({ name, ...args }) => [name, new GpuNodeGroup(name, args)]));
for (const { name, count, placement, ...args } of services) {
  const service = new OnlineService(name, {
    platform: kubernetes(platform),
    scaling: fixed(count),
    placement: typeof placement === "string" ? shared(groups[placement]) : perRelease(placement),
    ...args,
  });
  exports[name + "Release"] = service.release;
}
`;

/** What the nodes of a release's own are made of, unless a test says otherwise: one GPU each. */
const machine = { cluster: "lab", instanceTypes: ["g6.xlarge"], role: "arn:aws:iam::111122223333:role/nodes" };

export interface EksDeclaration {
  /** Instances of the service `studio`; each needs a node of its own. @default 1 */
  readonly count?: number;
  /** Changes of {@link machine}, or the name of one of `nodeGroups`. */
  readonly placement?: object | string;
  /** Groups that services share. */
  readonly nodeGroups?: readonly object[];
  readonly [argument: string]: unknown;
}

/** A service `studio` on nodes of the fake account, which are the lab's. */
export class EksServices implements AsyncDisposable {
  /** What happened to pods and traffic, by time. */
  readonly #seen: { readonly what: string; readonly at: number }[] = [];
  readonly #watch = new AbortController();
  #declared: EksDeclaration = {};
  readonly #watching: Promise<void>;

  private constructor(
    readonly services: ClusterServices,
    readonly aws: FakeAws,
  ) {
    this.#watching = this.#watchPods();
  }

  static async create(name: string): Promise<EksServices> {
    useStandInPlugin("aws");
    const services = await ClusterServices.create(name, { gpus: 0, program });
    const { lab, core } = services.cluster;
    const machines = labMachines(lab, 1);
    const aws: FakeAws = await FakeAws.start({
      machines: {
        ...machines,
        end: async (machine) => {
          const { items } = await core.listPodForAllNamespaces({
            fieldSelector: `spec.nodeName=${machine.id}`,
            labelSelector: "app.kubernetes.io/component=instance",
          });
          const running = items.filter(({ status }) => status?.phase !== "Succeeded" && status?.phase !== "Failed");
          aws.groups.log.add("node ends", machine.group, `${running.length} pods`);
          await machines.end(machine);
        },
      },
      delays: { create: 300, update: 300, launch: 300, delete: 300 },
    });
    Object.assign(process.env, aws.environmentVariables);
    return new EksServices(services, aws);
  }

  get project() {
    return this.services.project;
  }

  /** What the program declares from now on, of the snapshot that was published last. */
  declare(declaration: EksDeclaration = {}): void {
    this.#declared = declaration;
    const { count = 1, placement = {}, nodeGroups = [], ...more } = declaration;
    const where = typeof placement === "string" ? placement : { ...machine, ...placement };
    this.services.declare([{ name: "studio", count, placement: where, ...more }], {}, [], {
      nodeGroups: nodeGroups.map((group) => ({ ...machine, ...group })),
    });
  }

  serving = async () => (await this.services.records().target()).release ?? "";

  releases = async () => (await this.services.records().record())?.releases ?? [];

  /** The group of the service's release, as the account has it. */
  group(release: string) {
    return this.aws.groups.find("lab", `studio-${release}`);
  }

  /** Everything that happened to a release, its nodes and its pods, in its order; the two kinds of words tell a record's events from others. */
  async story(...releases: readonly string[]): Promise<readonly string[]> {
    const aws = this.aws.groups.events.map(({ what, of, detail, at }) => {
      const shown = /^node (joined|gone)/.test(what) ? "" : ` ${detail}`;
      return { what: `${what} ${of.replace(/^studio-/, "")}${shown}`.trimEnd(), at };
    });
    const recorded = (await this.releases()).flatMap(({ id, events }) =>
      events.map(({ event, at }) => ({ what: `${event} ${id}`, at: Date.parse(at) })),
    );
    return [...aws, ...recorded, ...this.#seen]
      .filter(({ what }) => releases.some((release) => what.includes(release)))
      .sort((one, other) => one.at - other.at)
      .map(({ what }) => what);
  }

  /** Names of the cluster's nodes that belong to node groups. */
  async nodes(): Promise<readonly string[]> {
    const { items } = await this.services.cluster.core.listNode({ labelSelector: "eks.amazonaws.com/nodegroup" });
    return items.map(({ metadata }) => `${metadata?.labels?.["eks.amazonaws.com/nodegroup"]}/${metadata?.name}`);
  }

  /** Waits until the account has these groups, each with so many nodes, and the cluster no others. */
  async untilGroups(wanted: Readonly<Record<string, number>>): Promise<void> {
    let seen = "";
    await waitFor({
      what: `the node groups to be ${JSON.stringify(wanted)}`,
      deadline: 120_000,
      seen: () => seen,
      look: async () => {
        const groups = Object.fromEntries(
          this.aws.groups.all().map(({ name, desired, instances }) => [name, [desired, instances.size]]),
        );
        const nodes = await this.nodes();
        seen = JSON.stringify({ groups, nodes });
        const expected = Object.fromEntries(Object.entries(wanted).map(([name, count]) => [name, [count, count]]));
        const same =
          JSON.stringify(Object.entries(groups).sort()) === JSON.stringify(Object.entries(expected).sort()) &&
          nodes.length === Object.values(wanted).reduce((sum, count) => sum + count, 0);
        return same || undefined;
      },
    });
  }

  /** Publishes another version of the plugins, which is declared from now on. */
  async publish(plugins: Readonly<Record<string, PluginSource>>): Promise<void> {
    this.project.writePlugins(plugins);
    await this.services.publish();
    this.declare(this.#declared);
  }

  async #watchPods(): Promise<void> {
    const known = new Map<string, number>();
    const add = (what: string) => this.#seen.push({ what, at: Date.now() });
    while (!this.#watch.signal.aborted) {
      const pods = await this.services.instances().catch(() => undefined);
      if (pods !== undefined) {
        const now = new Map<string, number>();
        for (const { release } of pods) now.set(release, (now.get(release) ?? 0) + 1);
        for (const release of now.keys()) if (!known.has(release)) add(`pods ${release}`);
        for (const release of known.keys()) if (!now.has(release)) add(`no pods ${release}`);
        known.clear();
        for (const [release, count] of now) known.set(release, count);
      }
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watch.abort();
    await this.#watching;
    await this.services[Symbol.asyncDispose]();
    await this.aws[Symbol.asyncDispose]();
  }
}
