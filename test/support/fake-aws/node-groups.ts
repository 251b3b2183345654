import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { AwsError, inUse, invalid, notFound } from "./errors";
import { type AwsEvent, EventLog } from "./event-log";
import type { Machine, Machines } from "./machines";

export interface ScalingConfig {
  readonly minSize: number;
  readonly maxSize: number;
  readonly desiredSize: number;
}

export interface Taint {
  readonly key: string;
  readonly value?: string;
  readonly effect: "NO_SCHEDULE" | "NO_EXECUTE" | "PREFER_NO_SCHEDULE";
}

/** As CreateNodegroup takes it; other fields are kept as they came. */
export interface NodegroupSpec {
  readonly nodegroupName: string;
  readonly scalingConfig: ScalingConfig;
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: readonly Taint[];
  readonly [field: string]: unknown;
}

export interface Update {
  readonly id: string;
  readonly type: "ConfigUpdate" | "VersionUpdate";
  status: "InProgress" | "Successful" | "Failed";
}

export interface Activity {
  readonly id: string;
  readonly description: string;
  status: "InProgress" | "Successful" | "Failed";
  message: string;
  readonly started: Date;
}

/** An instance of an Auto Scaling group. */
export interface Instance extends Machine {
  lifecycle: "Pending" | "InService" | "Terminating";
  /** Settles when the machine has come, or has failed to. */
  ready: Promise<void>;
}

export interface Nodegroup {
  readonly cluster: string;
  readonly name: string;
  readonly created: Date;
  spec: NodegroupSpec;
  status: "CREATING" | "ACTIVE" | "UPDATING" | "DELETING" | "CREATE_FAILED" | "DEGRADED";
  issues: readonly { readonly code: string; readonly message: string }[];
  /** Nodes that its Auto Scaling group is to have. */
  desired: number;
  /** Empty until the group is there. */
  autoScalingGroup: string;
  readonly instances: Map<string, Instance>;
  readonly activities: Activity[];
  readonly updates: Map<string, Update>;
}

/** Milliseconds that the cloud takes for what begins from now on. */
export interface Delays {
  create: number;
  update: number;
  launch: number;
  delete: number;
}

/** What keeps EC2 from launching instances, in its own words: https://docs.aws.amazon.com/autoscaling/ec2/userguide/CHAP_Troubleshooting.html */
const launchFailures = {
  capacity:
    "We currently do not have sufficient g6.xlarge capacity in the Availability Zone you requested (eu-west-1a). Our system will be working on provisioning additional capacity. Launching EC2 instance failed.",
  quota:
    "You have requested more vCPU capacity than your current vCPU limit of 4 allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit. Launching EC2 instance failed.",
} as const;

export interface Faults {
  /** Every launch fails so. */
  launch?: keyof typeof launchFailures;
  /** The next groups end as CREATE_FAILED. */
  create?: boolean;
  /** So many next requests are throttled. */
  throttled?: number;
}

/** Milliseconds between two attempts of an Auto Scaling group that lacks instances. */
const launchRetry = 500;

/** The managed node groups of an account, with their Auto Scaling groups. They live on by themselves, as a cloud's do. */
export class NodeGroups {
  readonly log = new EventLog();
  readonly faults: Faults = {};
  readonly #groups = new Map<string, Nodegroup>();
  readonly #tasks = new Set<Promise<void>>();
  /** Of each group whose instances are not as many as there are to be, the one loop that sees to it. */
  readonly #converging = new Map<Nodegroup, Promise<void>>();
  readonly #closed = new AbortController();

  constructor(
    private readonly machines: Machines,
    readonly delays: Delays,
  ) {}

  get events(): readonly AwsEvent[] {
    return this.log.events;
  }

  all(): readonly Nodegroup[] {
    return [...this.#groups.values()];
  }

  find(cluster: string, name: string): Nodegroup {
    const group = this.#groups.get(`${cluster}:${name}`);
    if (group === undefined) throw notFound(`No node group found for name: ${name}.`);
    return group;
  }

  ofAutoScalingGroup(name: string): Nodegroup | undefined {
    return this.all().find(({ autoScalingGroup }) => autoScalingGroup === name);
  }

  create(cluster: string, spec: NodegroupSpec): Nodegroup {
    const key = `${cluster}:${spec.nodegroupName}`;
    if (this.#groups.has(key)) {
      throw inUse(`NodeGroup already exists with name ${spec.nodegroupName} and cluster name ${cluster}`);
    }
    checkSize(spec.scalingConfig);
    const group: Nodegroup = {
      cluster,
      name: spec.nodegroupName,
      created: new Date(),
      spec,
      status: "CREATING",
      issues: [],
      desired: 0,
      autoScalingGroup: "",
      instances: new Map(),
      activities: [],
      updates: new Map(),
    };
    this.#groups.set(key, group);
    this.log.add("group created", group.name, `desired ${spec.scalingConfig.desiredSize}`);
    this.#run(async () => {
      await this.#pause(this.delays.create);
      if (this.faults.create) {
        group.issues = [{ code: "NodeCreationFailure", message: "Instances failed to join the kubernetes cluster" }];
        group.status = "CREATE_FAILED";
        return;
      }
      group.autoScalingGroup = `eks-${group.name}-${randomUUID()}`;
      group.desired = group.spec.scalingConfig.desiredSize;
      await this.#converge(group);
      if (group.status === "CREATING") group.status = "ACTIVE";
    });
    return group;
  }

  /** What UpdateNodegroupConfig and UpdateNodegroupVersion do. Nodes of another version are not rolled: who asks for that is told by the log. */
  update(group: Nodegroup, type: Update["type"], change: Partial<NodegroupSpec>): Update {
    // https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupConfig.html: one at a time.
    if (group.status !== "ACTIVE" && group.status !== "DEGRADED") {
      throw inUse("Nodegroup cannot be updated as it is currently not in Active State");
    }
    const before = group.spec;
    const scalingConfig = { ...before.scalingConfig, desiredSize: group.desired, ...change.scalingConfig };
    checkSize(scalingConfig);
    const update: Update = { id: randomUUID(), type, status: "InProgress" };
    group.updates.set(update.id, update);
    group.spec = { ...before, ...change, scalingConfig };
    const degraded = group.status === "DEGRADED";
    group.status = "UPDATING";
    if (type === "VersionUpdate") this.log.add("group rolled", group.name);
    if (scalingConfig.desiredSize !== group.desired) {
      this.log.add("group scaled", group.name, `${group.desired} to ${scalingConfig.desiredSize}`);
    }
    this.#run(async () => {
      await this.#pause(this.delays.update);
      group.desired = scalingConfig.desiredSize;
      this.#run(() => this.#converge(group));
      update.status = "Successful";
      if (group.status === "UPDATING") group.status = degraded || group.issues.length > 0 ? "DEGRADED" : "ACTIVE";
    });
    return update;
  }

  delete(group: Nodegroup): void {
    if (group.status === "UPDATING" || group.status === "CREATING") {
      throw inUse(`Nodegroup ${group.name} cannot be deleted because it currently has an update in progress`);
    }
    if (group.status === "DELETING") return;
    group.status = "DELETING";
    this.log.add("group deleting", group.name, `${group.instances.size} nodes`);
    this.#run(async () => {
      group.desired = 0;
      await this.#converge(group);
      await this.#pause(this.delays.delete);
      this.#groups.delete(`${group.cluster}:${group.name}`);
      this.log.add("group gone", group.name);
    });
  }

  /** What TerminateInstanceInAutoScalingGroup does. */
  terminate(id: string, decrement: boolean): Activity {
    for (const group of this.all()) {
      const instance = group.instances.get(id);
      if (instance === undefined) continue;
      if (decrement) {
        if (group.desired <= group.spec.scalingConfig.minSize) {
          throw new AwsError(
            400,
            "ValidationError",
            `Currently, desiredSize equals minSize (${group.desired}). Terminating instance without replacement will violate group's min size constraint.`,
          );
        }
        group.desired -= 1;
        group.spec = { ...group.spec, scalingConfig: { ...group.spec.scalingConfig, desiredSize: group.desired } };
      }
      const activity = this.#activity(group, `Terminating EC2 instance: ${id}`);
      this.#run(() => this.#end(group, instance, activity));
      this.#run(() => this.#converge(group));
      return activity;
    }
    throw new AwsError(
      400,
      "ValidationError",
      `Instance Id not found - No managed instance found for instance ID: ${id}`,
    );
  }

  /** Ends what still goes on, machines too. */
  async close(): Promise<void> {
    this.#closed.abort();
    await Promise.all(this.#tasks);
    await Promise.all(
      this.all().flatMap(({ instances }) => [...instances.values()].map((one) => this.machines.end(one))),
    );
    this.#groups.clear();
  }

  #run(task: () => Promise<void>): void {
    const running: Promise<void> = task()
      .catch((error: unknown) => {
        if (!this.#closed.signal.aborted) this.log.add("fake failed", "", String(error));
      })
      .finally(() => this.#tasks.delete(running));
    this.#tasks.add(running);
  }

  async #pause(milliseconds: number): Promise<void> {
    await pause(milliseconds, undefined, { signal: this.#closed.signal });
  }

  /** Launches or ends instances until there are as many as there are to be. */
  #converge(group: Nodegroup): Promise<void> {
    const running = this.#converging.get(group) ?? this.#step(group).finally(() => this.#converging.delete(group));
    this.#converging.set(group, running);
    return running;
  }

  async #step(group: Nodegroup): Promise<void> {
    for (;;) {
      const there = [...group.instances.values()].filter(({ lifecycle }) => lifecycle !== "Terminating");
      const surplus = there.length - group.desired;
      if (surplus > 0) {
        // Auto Scaling chooses without regard to pods: here those that came first.
        const ending = there
          .slice(0, surplus)
          .map((one) => this.#end(group, one, this.#activity(group, `Terminating EC2 instance: ${one.id}`)));
        await Promise.all(ending);
      } else if (surplus < 0) {
        if (!this.#fails(group)) await Promise.all(Array.from({ length: -surplus }, () => this.#launch(group)));
        else if (group.status === "CREATING") group.status = "CREATE_FAILED";
        else await this.#pause(launchRetry);
      }
      if (surplus === 0 || group.status === "CREATE_FAILED") return;
    }
  }

  /** Whether launching fails; of the same failure only one activity is kept in a row. */
  #fails(group: Nodegroup): boolean {
    if (this.faults.launch === undefined) return false;
    const message = launchFailures[this.faults.launch];
    group.issues = [{ code: "AsgInstanceLaunchFailures", message: `Could not launch On-Demand Instances. ${message}` }];
    if (group.status === "ACTIVE") group.status = "DEGRADED";
    const activity = this.#activity(group, `Launching a new EC2 instance.  Status Reason: ${message}`);
    activity.status = "Failed";
    activity.message = message;
    return true;
  }

  async #launch(group: Nodegroup): Promise<void> {
    const id = `i-${randomBytes(8).toString("hex")}`;
    const activity = this.#activity(group, `Launching a new EC2 instance: ${id}`);
    const { labels = {}, taints = [], instanceTypes } = group.spec;
    const ready = (async () => {
      await this.#pause(this.delays.launch);
      await this.machines.start({
        id,
        group: group.name,
        labels: { ...labels, "eks.amazonaws.com/nodegroup": group.name },
        taints,
        type: Array.isArray(instanceTypes) ? String(instanceTypes[0]) : "",
      });
    })();
    const instance: Instance = { id, group: group.name, lifecycle: "Pending", ready };
    group.instances.set(id, instance);
    await ready;
    if (instance.lifecycle !== "Pending") return;
    instance.lifecycle = "InService";
    activity.status = "Successful";
    this.log.add("node joined", group.name, id);
    group.issues = [];
    if (group.status === "DEGRADED") group.status = "ACTIVE";
  }

  async #end(group: Nodegroup, instance: Instance, activity: Activity): Promise<void> {
    if (instance.lifecycle === "Terminating") return;
    instance.lifecycle = "Terminating";
    await instance.ready.catch(() => undefined);
    await this.machines.end(instance);
    group.instances.delete(instance.id);
    activity.status = "Successful";
    this.log.add("node gone", group.name, instance.id);
  }

  #activity(group: Nodegroup, description: string): Activity {
    const activity: Activity = {
      id: randomUUID(),
      description,
      status: "InProgress",
      message: "",
      started: new Date(),
    };
    group.activities.unshift(activity);
    return activity;
  }
}

function checkSize({ minSize, maxSize, desiredSize }: ScalingConfig): void {
  if (maxSize < 1) throw invalid("maxSize must be greater than or equal to 1");
  if (minSize > desiredSize)
    throw invalid(`Minimum capacity ${minSize} can't be greater than desired size ${desiredSize}`);
  if (desiredSize > maxSize) throw invalid(`desired capacity ${desiredSize} can't be greater than max size ${maxSize}`);
}
