import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { KubeConfig } from "@kubernetes/client-node";
import { KubernetesApi } from "../../runtime/kubernetes/api";
import { waitFor } from "../../runtime/waiting";
import { freePort } from "./free-port";
import { temporaryFolder } from "./trees";

/** A real API server with an etcd of its own, on this machine: no nodes, no controllers. Objects are what is written to it. */
export class ApiServer {
  private etcd: ChildProcess | null = null;
  private apiServer: ChildProcess | null = null;
  private output = "";

  private constructor(
    private readonly program: string,
    private readonly folder: { readonly path: string; remove(): void },
    private readonly ports: { readonly etcd: number; readonly peer: number; readonly api: number },
  ) {}

  static async start(): Promise<ApiServer> {
    const ports = { etcd: await freePort(), peer: await freePort(), api: await freePort() };
    const server = new ApiServer(await kubeProgram(), temporaryFolder(), ports);
    try {
      server.makeCertificates();
      server.startEtcd();
      await server.startApiServer();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** As an administrator. */
  get api(): KubernetesApi {
    const config = new KubeConfig();
    config.loadFromFile(this.kubeconfig("admin"));
    return new KubernetesApi(config);
  }

  get port(): number {
    return this.ports.api;
  }

  /** Writes the configuration of a user of this name, who is nobody's administrator but the name `admin`. */
  kubeconfig(user: string, port = this.ports.api): string {
    const path = this.path(`${user}-${port}.kubeconfig`);
    this.certificate(
      user,
      user === "admin" ? "/O=system:masters/CN=admin" : `/CN=${user}`,
      "extendedKeyUsage=clientAuth",
    );
    const base64 = (name: string) => readFileSync(this.path(name)).toString("base64");
    const cluster = { server: `https://127.0.0.1:${port}`, "certificate-authority-data": base64("ca.crt") };
    const credentials = {
      "client-certificate-data": base64(`${user}.crt`),
      "client-key-data": base64(`${user}.key`),
    };
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "test", cluster }],
      users: [{ name: user, user: credentials }],
      contexts: [{ name: "test", context: { cluster: "test", user } }],
      "current-context": "test",
    };
    writeFileSync(path, JSON.stringify(config));
    return path;
  }

  async killApiServer(): Promise<void> {
    await ended(this.apiServer);
    this.apiServer = null;
  }

  async startApiServer(): Promise<void> {
    const { etcd, api } = this.ports;
    this.apiServer = this.launch("apiserver", [
      `--etcd-servers=http://127.0.0.1:${etcd}`,
      `--secure-port=${api}`,
      "--bind-address=127.0.0.1",
      "--advertise-address=127.0.0.1",
      "--endpoint-reconciler-type=none",
      `--tls-cert-file=${this.path("apiserver.crt")}`,
      `--tls-private-key-file=${this.path("apiserver.key")}`,
      `--client-ca-file=${this.path("ca.crt")}`,
      `--service-account-key-file=${this.path("sa.pub")}`,
      `--service-account-signing-key-file=${this.path("sa.key")}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      "--service-cluster-ip-range=10.96.0.0/16",
      "--authorization-mode=RBAC",
      // Pods need no service account where nobody makes one.
      "--disable-admission-plugins=ServiceAccount",
    ]);
    const child = this.apiServer;
    await waitFor({
      what: "the API server to be ready",
      deadline: 120_000,
      look: async () => {
        if (child.exitCode !== null) throw new Error(`the API server ended: ${this.output}`);
        try {
          await this.api.request({ path: "/api/v1/namespaces/default" });
          return true;
        } catch {
          return undefined;
        }
      },
      seen: () => this.output.slice(-500),
    });
  }

  /** Ends both and removes their files. */
  async stop(): Promise<void> {
    await Promise.all([ended(this.apiServer), ended(this.etcd)]);
    this.folder.remove();
  }

  private startEtcd(): void {
    const { etcd, peer } = this.ports;
    this.etcd = this.launch("etcd", [
      ...["--data-dir", this.path("etcd"), "--unsafe-no-fsync", "--logger", "zap", "--log-level", "error"],
      ...["--listen-client-urls", `http://127.0.0.1:${etcd}`, "--advertise-client-urls", `http://127.0.0.1:${etcd}`],
      ...[
        "--listen-peer-urls",
        `http://127.0.0.1:${peer}`,
        "--initial-advertise-peer-urls",
        `http://127.0.0.1:${peer}`,
      ],
      ...["--initial-cluster", `default=http://127.0.0.1:${peer}`],
    ]);
  }

  private launch(component: string, parameters: readonly string[]): ChildProcess {
    const child = spawn(this.program, [component, ...parameters], { stdio: ["ignore", "pipe", "pipe"] });
    process.once("exit", () => child.kill("SIGKILL"));
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (text: Buffer) => {
        this.output = (this.output + text.toString()).slice(-4000);
      });
    }
    return child;
  }

  private makeCertificates(): void {
    const key = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"];
    this.openssl(...key, "-out", "ca.key");
    this.openssl("req", "-x509", "-new", "-key", "ca.key", "-out", "ca.crt", "-days", "3650", "-subj", "/CN=test");
    this.certificate("apiserver", "/CN=kube-apiserver", "subjectAltName=DNS:localhost,IP:127.0.0.1");
    this.openssl("genrsa", "-out", "sa.key", "2048");
    this.openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub");
  }

  private certificate(name: string, subject: string, extensions: string): void {
    writeFileSync(this.path(`${name}.ext`), extensions);
    this.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`);
    this.openssl("req", "-new", "-key", `${name}.key`, "-out", `${name}.csr`, "-subj", subject);
    const sign = ["x509", "-req", "-in", `${name}.csr`, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    this.openssl(...sign, "-out", `${name}.crt`, "-days", "3650", "-extfile", `${name}.ext`);
  }

  private openssl(...parameters: string[]): void {
    execFileSync("openssl", parameters, { cwd: this.folder.path, stdio: "pipe" });
  }

  private path(name: string): string {
    return join(this.folder.path, name);
  }
}

/** What is between a client and the API server: lets everything through until it is told not to. */
export class ApiLink {
  private readonly sockets = new Set<Socket>();
  private mode: "open" | "cut" | "silent" = "open";
  /** Connections that were tried while it was cut, since it last was. */
  refused = 0;

  private constructor(private readonly server: Server) {}

  static async to(port: number): Promise<ApiLink> {
    const server = createServer();
    const link = new ApiLink(server);
    server.on("connection", (client) => link.join(client, port));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return link;
  }

  get port(): number {
    const address = this.server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  open(): void {
    this.mode = "open";
    // Connections that were silent stay so: what was swallowed does not come back.
  }

  /** Every connection breaks, and new ones too. */
  cut(): void {
    this.mode = "cut";
    this.refused = 0;
    for (const socket of this.sockets) socket.destroy();
  }

  /** Every connection stays, but nothing comes through any more; new ones come through once it is open again. */
  silence(): void {
    this.mode = "silent";
    for (const socket of this.sockets) {
      socket.unpipe();
      socket.removeAllListeners("data");
      socket.pause();
    }
  }

  close(): void {
    this.cut();
    this.server.close();
  }

  private join(client: Socket, port: number): void {
    if (this.mode === "cut") {
      this.refused += 1;
      client.destroy();
      return;
    }
    this.sockets.add(client);
    client.on("error", () => {});
    client.on("close", () => this.sockets.delete(client));
    if (this.mode === "silent") return;
    const upstream = connect(port, "127.0.0.1");
    this.sockets.add(upstream);
    upstream.on("error", () => client.destroy());
    upstream.on("close", () => {
      this.sockets.delete(upstream);
      client.destroy();
    });
    client.on("close", () => upstream.destroy());
    client.pipe(upstream);
    upstream.pipe(client);
  }
}

async function ended(child: ChildProcess | null): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

/** etcd, API server and more in one program, built by the set-up of the tests. */
async function kubeProgram(): Promise<string> {
  const setup = pathToFileURL(resolve(__dirname, "../../scripts/setup/kubernetes.mjs")).href;
  const { programPath } = (await import(setup)) as { programPath: (name: string) => string };
  const program = programPath("kube");
  if (!existsSync(program)) throw new Error(`${program} is not there; \`npm test\` builds it`);
  return program;
}
