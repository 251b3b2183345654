import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { ApiregistrationV1Api } from "@kubernetes/client-node";
import { waitFor } from "../../runtime/waiting";
import { type TestCluster, unlessGone } from "./cluster";
import { temporaryFolder } from "./trees";

const group = "external.metrics.k8s.io";
const version = "v1beta1";
const serviceName = "external-metrics";

/** What a metric is worth for the labels that are asked for; undefined where there is nothing to tell. */
export type MetricSource = (labels: Readonly<Record<string, string>>) => Promise<number | undefined>;

/**
 * A metrics adapter as a cluster would have one, such as prometheus-adapter, of a single metric: a server on this machine to which the API server
 * passes on what is asked of the group external.metrics.k8s.io.
 */
export class ExternalMetrics implements AsyncDisposable {
  private constructor(
    private readonly cluster: TestCluster,
    private readonly server: Server,
    private readonly folder: ReturnType<typeof temporaryFolder>,
  ) {}

  /** Serves a metric of this name for the whole cluster, until it is disposed of. */
  static async start(cluster: TestCluster, metric: string, source: MetricSource): Promise<ExternalMetrics> {
    const folder = temporaryFolder();
    const host = `${serviceName}.${cluster.namespace}.svc`;
    makeCertificates(folder.path, host);
    const read = (name: string) => readFileSync(join(folder.path, name));
    const server = createServer({ key: read("server.key"), cert: read("server.crt") }, (request, response) => {
      answer(request, response, metric, source).catch((error: Error) =>
        send(response, 500, status(500, error.message)),
      );
    });
    server.listen(0, cluster.machineAddress);
    await once(server, "listening");
    const metrics = new ExternalMetrics(cluster, server, folder);
    try {
      await metrics.register((server.address() as AddressInfo).port, read("ca.crt").toString("base64"));
    } catch (error) {
      await metrics[Symbol.asyncDispose]();
      throw error;
    }
    return metrics;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry.deleteAPIService({ name: `${version}.${group}` }).catch(unlessGone);
    this.server.closeAllConnections();
    this.server.close();
    this.folder.remove();
  }

  private get registry(): ApiregistrationV1Api {
    return this.cluster.client(ApiregistrationV1Api);
  }

  private async register(port: number, caBundle: string): Promise<void> {
    const { cluster, registry } = this;
    const { namespace, machineAddress } = cluster;
    const metadata = { name: serviceName };
    await cluster.create({
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: { ports: [{ name: "https", port: 443, targetPort: port }] },
    } as object);
    await cluster.create({
      apiVersion: "v1",
      kind: "Endpoints",
      metadata,
      subsets: [{ addresses: [{ ip: machineAddress }], ports: [{ name: "https", port }] }],
    } as object);
    const name = `${version}.${group}`;
    await registry.deleteAPIService({ name }).catch(unlessGone);
    await registry.createAPIService({
      body: {
        metadata: { name },
        spec: {
          group,
          version,
          service: { namespace, name: serviceName, port: 443 },
          caBundle,
          groupPriorityMinimum: 100,
          versionPriority: 100,
        },
      },
    });
    let seen = "";
    await waitFor({
      what: `the API server to serve ${group}`,
      deadline: 60_000,
      seen: () => seen,
      look: async () => {
        const { conditions = [] } = (await registry.readAPIService({ name })).status ?? {};
        seen = JSON.stringify(conditions);
        return conditions.some((one) => one.type === "Available" && one.status === "True") ? true : undefined;
      },
    });
  }
}

/** https://github.com/kubernetes/design-proposals-archive/blob/main/instrumentation/external-metrics-api.md */
async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  metric: string,
  source: MetricSource,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? "/", "https://server");
  if (pathname === `/apis/${group}/${version}`) {
    const resources = [
      { name: metric, singularName: "", namespaced: true, kind: "ExternalMetricValueList", verbs: ["get"] },
    ];
    const list = { kind: "APIResourceList", apiVersion: "v1", groupVersion: `${group}/${version}`, resources };
    return send(response, 200, list);
  }
  const [, asked] = new RegExp(`^/apis/${group}/${version}/namespaces/[^/]+/([^/]+)$`).exec(pathname) ?? [];
  if (asked !== metric) return send(response, 404, status(404, `there is no ${pathname}`));
  const selector = (searchParams.get("labelSelector") ?? "").split(",").filter(Boolean);
  const labels = Object.fromEntries(selector.map((pair) => pair.split("=") as [string, string]));
  const value = await source(labels);
  const items =
    value === undefined
      ? []
      : [{ metricName: metric, metricLabels: labels, timestamp: new Date().toISOString(), value: String(value) }];
  send(response, 200, {
    kind: "ExternalMetricValueList",
    apiVersion: `${group}/${version}`,
    metadata: {},
    items,
  });
}

function send(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

const status = (code: number, message: string) => ({
  kind: "Status",
  apiVersion: "v1",
  status: "Failure",
  message,
  code,
});

function makeCertificates(folder: string, host: string): void {
  const openssl = (...parameters: string[]) => execFileSync("openssl", parameters, { cwd: folder, stdio: "pipe" });
  writeFileSync(join(folder, "server.ext"), `subjectAltName=DNS:${host}`);
  for (const name of ["ca", "server"]) {
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`);
  }
  openssl("req", "-x509", "-new", "-key", "ca.key", "-out", "ca.crt", "-days", "30", "-subj", "/CN=external-metrics");
  openssl("req", "-new", "-key", "server.key", "-out", "server.csr", "-subj", `/CN=${serviceName}`);
  openssl(
    ...["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"],
    ...["-out", "server.crt", "-days", "30", "-extfile", "server.ext"],
  );
}
