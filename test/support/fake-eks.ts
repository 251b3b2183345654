import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A machine of a node group's Auto Scaling group. */
export interface FakeMachine {
  /** `i-…`, as a node's `providerID` ends. */
  readonly id: string;
  lifecycle: "Pending" | "InService" | "Terminating";
}

export interface FakeActivity {
  readonly id: string;
  readonly at: Date;
  readonly status: "Successful" | "Failed" | "InProgress";
  readonly message: string;
}

/** A managed node group as the fake keeps it. */
export interface FakeNodeGroup {
  readonly cluster: string;
  readonly name: string;
  status: "CREATING" | "ACTIVE" | "UPDATING" | "DEGRADED" | "CREATE_FAILED" | "DELETING";
  /** How often it is still told to be UPDATING or CREATING. */
  busyLooks: number;
  size: { minSize: number; maxSize: number; desiredSize: number };
  machines: FakeMachine[];
  activities: FakeActivity[];
  issues: { code: string; message: string; resourceIds: string[] }[];
  /** As it was created with. */
  readonly request: Readonly<Record<string, unknown>>;
}

/** Why machines do not come. */
export type FakeShortage = { readonly message: string; readonly issue?: string };

/** What AWS says; the texts are EC2's and EKS's own. */
export const shortages = {
  capacity: {
    message:
      "We currently do not have sufficient g5.xlarge capacity in the Availability Zone you requested (eu-central-1a). Our system will be working on provisioning additional capacity. Launching EC2 instance failed.",
    issue: "AsgInstanceLaunchFailures",
  },
  quota: {
    message:
      "You have requested more vCPU capacity than your current vCPU limit of 8 allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit. Launching EC2 instance failed.",
    issue: "AsgInstanceLaunchFailures",
  },
} as const satisfies Record<string, FakeShortage>;

export interface FakeEksOptions {
  /** Called when a machine is to come: whoever makes a node of it sets `lifecycle`. Default: it is in service at once. */
  readonly launch?: (group: FakeNodeGroup, machine: FakeMachine) => Promise<void> | void;
  /** Called when a machine is to go, before it is gone. */
  readonly terminate?: (group: FakeNodeGroup, machine: FakeMachine) => Promise<void> | void;
  /** How often a group is told to be UPDATING after each change of its size. Default 1. */
  readonly updatingLooks?: number;
}

/** What a request is answered with in place of the fake's own answer. */
export interface FakeFault {
  /** For example `UpdateNodegroupConfig`. */
  readonly action: string;
  readonly status: number;
  /** For example `ThrottlingException`. */
  readonly code: string;
  readonly message?: string;
  /** How many requests. Default 1. */
  times?: number;
}

type Answer = { readonly status: number; readonly body: string; readonly type: string; readonly code?: string };

/**
 * The APIs of EKS, Auto Scaling, Service Quotas and prices, as far as this package uses them, as the AWS SDK speaks to them. Node groups
 * follow their size by themselves; with a shortage, launches fail as they do at AWS.
 */
export class FakeEks {
  readonly groups = new Map<string, FakeNodeGroup>();
  /** Names of the actions that were asked for, with their parameters, in this order. */
  readonly requests: { readonly action: string; readonly parameters: Readonly<Record<string, unknown>> }[] = [];
  readonly faults: FakeFault[] = [];
  /** By quota code. */
  readonly quotas = new Map<string, number>();
  /** Dollars an hour, by instance type. */
  readonly prices = new Map<string, number>();
  /** While set, no machine comes, and each attempt is noted. */
  shortage: FakeShortage | null = null;
  readonly #launches = new Map<FakeMachine, Promise<void>>();
  #machines = 0;
  #activities = 0;
  readonly #options: FakeEksOptions;
  readonly #server: Server;

  private constructor(options: FakeEksOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(options: FakeEksOptions = {}): Promise<FakeEks> {
    const fake = new FakeEks(options);
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What the AWS SDK has to find in a process's environment to ask the fake, and nobody else. */
  get environment(): Readonly<Record<string, string>> {
    return {
      AWS_ENDPOINT_URL_EKS: this.url,
      AWS_ENDPOINT_URL_AUTO_SCALING: this.url,
      AWS_ENDPOINT_URL_SERVICE_QUOTAS: this.url,
      AWS_ENDPOINT_URL_PRICING: this.url,
      AWS_ACCESS_KEY_ID: "AKIAFAKE",
      AWS_SECRET_ACCESS_KEY: "fake",
      AWS_REGION: "eu-central-1",
      AWS_EC2_METADATA_DISABLED: "true",
    };
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** A group as a program has made it; empty unless a size is given. */
  addGroup(cluster: string, name: string, size: Partial<FakeNodeGroup["size"]> = {}, request = {}): FakeNodeGroup {
    const group: FakeNodeGroup = {
      ...{ cluster, name, status: "ACTIVE", busyLooks: 0, machines: [], activities: [], issues: [], request },
      size: { minSize: 0, maxSize: 1, desiredSize: 0, ...size },
    };
    this.groups.set(keyOf(cluster, name), group);
    this.reconcile(group);
    return group;
  }

  /** Brings the machines to the wanted number; called after each change, and by a test that ends a shortage. */
  reconcile(group: FakeNodeGroup): void {
    const there = group.machines.filter(({ lifecycle }) => lifecycle !== "Terminating");
    for (let missing = group.size.desiredSize - there.length; missing > 0; missing--) {
      if (this.shortage !== null) {
        this.#noteShortage(group, this.shortage);
        break;
      }
      const machine: FakeMachine = {
        id: `i-${(++this.#machines).toString(16).padStart(8, "0")}`,
        lifecycle: "Pending",
      };
      group.machines.push(machine);
      if (this.#options.launch === undefined) machine.lifecycle = "InService";
      else this.#launches.set(machine, Promise.resolve(this.#options.launch(group, machine)));
    }
    for (const machine of there.slice(group.size.desiredSize)) void this.end(group, machine);
  }

  /** Ends one machine, once it has come. */
  async end(group: FakeNodeGroup, machine: FakeMachine): Promise<void> {
    machine.lifecycle = "Terminating";
    await this.#launches.get(machine);
    await this.#options.terminate?.(group, machine);
    group.machines = group.machines.filter((other) => other !== machine);
  }

  /** Once all machines that were asked for have come. */
  async launched(): Promise<void> {
    await Promise.all(this.#launches.values());
  }

  #noteShortage(group: FakeNodeGroup, { message, issue }: FakeShortage): void {
    this.note(group, "Failed", message);
    if (issue === undefined) return;
    group.status = group.busyLooks > 0 ? group.status : "DEGRADED";
    if (!group.issues.some((known) => known.code === issue)) {
      group.issues.push({ code: issue, message: "Could not launch On-Demand Instances.", resourceIds: [asgOf(group)] });
    }
  }

  /** Adds what the Auto Scaling group did. */
  note(group: FakeNodeGroup, status: FakeActivity["status"], message: string): void {
    group.activities.unshift({ id: `activity-${++this.#activities}`, at: new Date(), status, message });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { status, body, type, code } = this.#answer(request, Buffer.concat(chunks).toString("utf8"));
    response.writeHead(status, { "content-type": type, ...(code === undefined ? {} : { "x-amzn-errortype": code }) });
    response.end(body);
  }

  #answer(request: IncomingMessage, body: string): Answer {
    const target = String(request.headers["x-amz-target"] ?? "");
    if (target !== "") return this.#jsonTarget(target.slice(target.indexOf(".") + 1), JSON.parse(body || "{}"));
    const url = new URL(request.url ?? "/", this.url);
    const path = /^\/clusters\/([^/]+)\/node-groups(?:\/([^/]+)(\/update-config)?)?$/.exec(url.pathname);
    if (path !== null) {
      const [, cluster = "", name = "", config] = path.map((part) => part && decodeURIComponent(part));
      return this.#eks(`${request.method}${config === undefined ? "" : " config"}`, cluster, name, body);
    }
    return this.#autoScaling(new URLSearchParams(body));
  }

  #fault(action: string): FakeFault | undefined {
    const fault = this.faults.find((each) => each.action === action && (each.times ?? 1) > 0);
    if (fault !== undefined) fault.times = (fault.times ?? 1) - 1;
    return fault;
  }

  #eks(call: string, cluster: string, name: string, body: string): Answer {
    const action = {
      POST: "CreateNodegroup",
      GET: "DescribeNodegroup",
      "POST config": "UpdateNodegroupConfig",
      DELETE: "DeleteNodegroup",
    }[call];
    const given = body === "" ? {} : (JSON.parse(body) as Record<string, unknown>);
    this.requests.push({ action: String(action), parameters: { cluster, name, ...given } });
    const fault = this.#fault(String(action));
    if (fault !== undefined) return failed(fault.status, fault.code, fault.message ?? fault.code);
    if (action === "CreateNodegroup") {
      const made = String(given.nodegroupName);
      if (this.groups.has(keyOf(cluster, made))) {
        return failed(409, "ResourceInUseException", `NodeGroup already exists with name ${made}`);
      }
      return json({ nodegroup: nodegroupOf(this.addGroup(cluster, made, given.scalingConfig as object, given)) });
    }
    const group = this.groups.get(keyOf(cluster, name));
    if (group === undefined) {
      return failed(404, "ResourceNotFoundException", `No node group found for name: ${name}.`);
    }
    if (action === "DescribeNodegroup") {
      const answer = json({ nodegroup: nodegroupOf(group) });
      if (group.busyLooks > 0 && --group.busyLooks === 0 && ["CREATING", "UPDATING"].includes(group.status)) {
        group.status = group.issues.length > 0 ? "DEGRADED" : "ACTIVE";
      }
      return answer;
    }
    if (group.status === "UPDATING" || group.status === "CREATING") {
      return failed(409, "ResourceInUseException", `Nodegroup ${name} is ${group.status}: it cannot be changed now`);
    }
    if (action === "DeleteNodegroup") {
      group.size.desiredSize = 0;
      this.reconcile(group);
      this.groups.delete(keyOf(cluster, name));
      return json({ nodegroup: { ...nodegroupOf(group), status: "DELETING" } });
    }
    const size = { ...group.size, ...(given.scalingConfig as Partial<FakeNodeGroup["size"]>) };
    if (size.maxSize < 1 || size.desiredSize > size.maxSize || size.desiredSize < size.minSize) {
      const message = `desired capacity ${size.desiredSize} is not between ${size.minSize} and ${size.maxSize}`;
      return failed(400, "InvalidParameterException", message);
    }
    group.size = size;
    group.busyLooks = this.#options.updatingLooks ?? 1;
    if (group.busyLooks > 0) group.status = "UPDATING";
    this.reconcile(group);
    return json({ update: { id: "update-1", status: "InProgress", type: "ConfigUpdate" } });
  }

  #autoScaling(parameters: URLSearchParams): Answer {
    const action = parameters.get("Action") ?? "";
    this.requests.push({ action, parameters: Object.fromEntries(parameters) });
    const fault = this.#fault(action);
    if (fault !== undefined) return failedXml(fault.status, fault.code, fault.message ?? fault.code);
    const groups = [...this.groups.values()];
    switch (action) {
      case "DescribeAutoScalingGroups": {
        const named = groups.filter((group) => [...parameters.values()].includes(asgOf(group)));
        return xml(action, list("AutoScalingGroups", named.map(asgXml)));
      }
      case "DescribeScalingActivities": {
        const group = groups.find((each) => asgOf(each) === parameters.get("AutoScalingGroupName"));
        return xml(
          action,
          list(
            "Activities",
            (group?.activities ?? []).map((each) => activityXml(group, each)),
          ),
        );
      }
      case "TerminateInstanceInAutoScalingGroup": {
        const id = parameters.get("InstanceId") ?? "";
        const group = groups.find(({ machines }) => machines.some((machine) => machine.id === id));
        const machine = group?.machines.find((each) => each.id === id);
        if (group === undefined || machine === undefined || machine.lifecycle === "Terminating") {
          return failedXml(400, "ValidationError", `Instance Id not found - No managed instance found for ${id}`);
        }
        if (parameters.get("ShouldDecrementDesiredCapacity") === "true") group.size.desiredSize -= 1;
        void this.end(group, machine);
        return xml(action, "<Activity></Activity>");
      }
      default:
        return failedXml(400, "InvalidAction", `the fake has no ${action}`);
    }
  }

  #jsonTarget(action: string, parameters: Readonly<Record<string, unknown>>): Answer {
    this.requests.push({ action, parameters });
    const fault = this.#fault(action);
    if (fault !== undefined) return failed(fault.status, fault.code, fault.message ?? fault.code);
    if (action === "GetServiceQuota") {
      const code = String(parameters.QuotaCode);
      const value = this.quotas.get(code);
      if (value === undefined) return failed(400, "NoSuchResourceException", `no quota ${code}`);
      return json({ Quota: { QuotaCode: code, QuotaName: `Running instances (${code})`, Value: value } });
    }
    if (action === "GetProducts") {
      const filters = parameters.Filters as readonly { readonly Field: string; readonly Value: string }[];
      const type = filters.find(({ Field }) => Field === "instanceType")?.Value ?? "";
      const price = this.prices.get(type);
      const terms = {
        OnDemand: { a: { priceDimensions: { b: { unit: "Hrs", pricePerUnit: { USD: String(price) } } } } },
      };
      return json({ PriceList: price === undefined ? [] : [JSON.stringify({ terms })] });
    }
    return failed(400, "UnknownOperationException", `the fake has no ${action}`);
  }
}

const keyOf = (cluster: string, name: string) => `${cluster}/${name}`;
const asgOf = ({ name }: FakeNodeGroup) => `eks-${name}`;

function nodegroupOf(group: FakeNodeGroup) {
  const { cluster, name, status, size, issues } = group;
  return {
    ...{ clusterName: cluster, nodegroupName: name, status, scalingConfig: size, health: { issues } },
    nodegroupArn: `arn:aws:eks:eu-central-1:123456789012:nodegroup/${cluster}/${name}/1`,
    resources: { autoScalingGroups: [{ name: asgOf(group) }] },
  };
}

function json(value: object): Answer {
  return { status: 200, body: JSON.stringify(value), type: "application/json" };
}

function failed(status: number, code: string, message: string): Answer {
  return { status, body: JSON.stringify({ __type: code, message }), type: "application/json", code };
}

const namespace = 'xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"';

function xml(action: string, result: string): Answer {
  const body = `<${action}Response ${namespace}><${action}Result>${result}</${action}Result><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></${action}Response>`;
  return { status: 200, body, type: "text/xml" };
}

function failedXml(status: number, code: string, message: string): Answer {
  const body = `<ErrorResponse ${namespace}><Error><Type>Sender</Type><Code>${code}</Code><Message>${escaped(message)}</Message></Error><RequestId>1</RequestId></ErrorResponse>`;
  return { status, body, type: "text/xml" };
}

const element = (name: string, value: string | number) => `<${name}>${escaped(String(value))}</${name}>`;
const list = (name: string, members: readonly string[]) =>
  `<${name}>${members.map((member) => `<member>${member}</member>`).join("")}</${name}>`;
const escaped = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function asgXml(group: FakeNodeGroup): string {
  const { size, machines } = group;
  const instances = machines.map(({ id, lifecycle }) =>
    [
      element("InstanceId", id),
      element("AvailabilityZone", "eu-central-1a"),
      element("LifecycleState", lifecycle),
      element("HealthStatus", "Healthy"),
      element("ProtectedFromScaleIn", "false"),
    ].join(""),
  );
  return [
    element("AutoScalingGroupName", asgOf(group)),
    element("MinSize", size.minSize),
    element("MaxSize", size.maxSize),
    element("DesiredCapacity", size.desiredSize),
    list("Instances", instances),
  ].join("");
}

function activityXml(group: FakeNodeGroup | undefined, { id, at, status, message }: FakeActivity): string {
  return [
    element("ActivityId", id),
    element("AutoScalingGroupName", group === undefined ? "" : asgOf(group)),
    element("Description", "Launching a new EC2 instance.  Status Reason: see there"),
    element("Cause", "an instance was started in response to a difference between desired and actual capacity"),
    element("StartTime", at.toISOString()),
    element("StatusCode", status),
    element("StatusMessage", message),
  ].join("");
}
