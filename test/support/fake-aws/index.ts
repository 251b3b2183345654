import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { answerAccount } from "./account-api";
import { answerAutoScaling, errorXml } from "./auto-scaling-api";
import { answerEks, answerUpdate, type EksCluster } from "./eks-api";
import { AwsError } from "./errors";
import { type Machines, noMachines } from "./machines";
import { type Delays, NodeGroups } from "./node-groups";
import { Things } from "./things";

export type { AwsEvent } from "./event-log";
export { labMachines, type Machines } from "./machines";
export type { Faults, Nodegroup } from "./node-groups";

export interface FakeAwsOptions {
  readonly cluster?: EksCluster;
  readonly machines?: Machines;
  readonly delays?: Partial<Delays>;
}

/**
 * An AWS account with one EKS cluster: the APIs of EKS and Auto Scaling, of quotas and prices, on one port of this machine, for the AWS SDK and
 * for the stand-in of the aws plugin. Whoever finds it by its environment variables needs credentials of any kind, too.
 */
export class FakeAws implements AsyncDisposable {
  readonly groups: NodeGroups;
  readonly things = new Things();
  readonly cluster: EksCluster;

  private constructor(
    private readonly server: Server,
    { cluster, machines = noMachines, delays }: FakeAwsOptions,
  ) {
    this.cluster = cluster ?? { name: "lab", version: "1.34", subnetIds: ["subnet-a", "subnet-b"] };
    this.groups = new NodeGroups(machines, { create: 50, update: 50, launch: 50, delete: 50, ...delays });
  }

  static async start(options: FakeAwsOptions = {}): Promise<FakeAws> {
    const server = createServer();
    const fake = new FakeAws(server, options);
    server.on("request", (request, response) => void fake.#serve(request, response));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** By which the AWS SDK, and the stand-in plugin, find it: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html */
  get environmentVariables(): Readonly<Record<string, string>> {
    return {
      AWS_ENDPOINT_URL_EKS: this.url,
      AWS_ENDPOINT_URL_AUTO_SCALING: this.url,
      AWS_ENDPOINT_URL_SERVICE_QUOTAS: this.url,
      AWS_ENDPOINT_URL_PRICING: this.url,
      AWS_REGION: "eu-west-1",
      AWS_ACCESS_KEY_ID: process.env.AWS_ACCESS_KEY_ID ?? "test",
      AWS_SECRET_ACCESS_KEY: process.env.AWS_SECRET_ACCESS_KEY ?? "test",
    };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await textOf(request);
    const { pathname, searchParams } = new URL(request.url ?? "/", this.url);
    const method = request.method ?? "GET";
    const target = request.headers["x-amz-target"];
    const query = method === "POST" && pathname === "/" && target === undefined;
    try {
      this.#throttle(query, pathname);
      if (query) {
        response.writeHead(200, { "content-type": "text/xml" });
        response.end(answerAutoScaling(this.groups, new URLSearchParams(text)));
        return;
      }
      const body = text === "" ? {} : JSON.parse(text);
      const answer =
        target === undefined ? this.#answer(method, pathname, searchParams, body) : answerAccount(String(target), body);
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    } catch (error) {
      if (!(error instanceof AwsError)) {
        response.writeHead(500).end(String(error));
      } else if (query) {
        response.writeHead(error.status, { "content-type": "text/xml" }).end(errorXml(error));
      } else {
        // https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
        response
          .writeHead(error.status, { "content-type": "application/json", "x-amzn-errortype": error.code })
          .end(JSON.stringify({ message: error.message }));
      }
    }
  }

  #answer(method: string, path: string, query: URLSearchParams, body: Readonly<Record<string, unknown>>): unknown {
    const [, first, cluster = "", kind, id = ""] = path.split("/").map(decodeURIComponent);
    if (first === "things") return this.things.answer(method, cluster, kind, body);
    if (kind === "updates") return answerUpdate(this.groups, cluster, query.get("nodegroupName") ?? "", id);
    return answerEks([this.cluster], this.groups, method, path, body);
  }

  #throttle(query: boolean, path: string): void {
    const { faults } = this.groups;
    if (!faults.throttled || path.startsWith("/things/")) return;
    faults.throttled -= 1;
    // Names differ: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html
    throw query
      ? new AwsError(400, "Throttling", "Rate exceeded")
      : new AwsError(429, "ThrottlingException", "Rate exceeded");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await this.groups.close();
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
