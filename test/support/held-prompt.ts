import { randomUUID } from "node:crypto";
import type { V1Pod } from "@kubernetes/client-node";
import { expect } from "vitest";
import { waitFor } from "../../runtime/waiting";
import type { ClusterServices } from "./cluster-service";
import { type Message, openSocket, request, type Socket, submit } from "./comfyui-client";
import { paintUntil } from "./engine-plugins";

/** A prompt of a client of its own that runs until a test lets it end, or takes its instance away. */
export class HeldPrompt {
  private constructor(
    readonly services: ClusterServices,
    readonly url: string,
    readonly id: string,
    readonly socket: Socket,
    /** The pod that it runs in. */
    readonly pod: V1Pod,
    private readonly file: string,
  ) {}

  static async start(services: ClusterServices, service = "studio"): Promise<HeldPrompt> {
    const url = await services.url(service);
    const client = randomUUID();
    const file = `/comfyui/own/${client}`;
    const socket = await openSocket(url, client);
    const id = await submit(url, paintUntil(file), { client_id: client });
    const pod = await waitFor({
      what: `prompt ${id} to run in one of the instances`,
      deadline: 60_000,
      look: async () => {
        for (const { pod } of await services.instances(service)) {
          const queue = await request(`http://${pod.status?.podIP}:8188`, "GET", "/queue").catch(() => null);
          const { queue_running = [] } = (queue?.json ?? {}) as { readonly queue_running?: readonly unknown[][] };
          if (queue_running.some((item) => item[1] === id)) return pod;
        }
        return undefined;
      },
    });
    return new HeldPrompt(services, url, id, socket, pod, file);
  }

  get node(): string {
    return this.pod.spec?.nodeName ?? "";
  }

  /** Lets it end, and waits until its client knows. */
  async finish(): Promise<void> {
    const { code, stderr } = await this.services.cluster.exec(
      this.pod.metadata?.name ?? "",
      ["/comfyui/environment/venv/bin/python", "-c", `open("${this.file}", "w")`],
      "comfyui",
    );
    expect(code, stderr).toBe(0);
    await this.socket.until(`the success of ${this.id}`, (message) => this.isEnd(message, "execution_success"));
    expect(this.ends()).toEqual(["execution_success"]);
    await this.socket.close();
  }

  /** Waits until its client is told that it is lost: once, and in the history as well. */
  async isLost(deadline = 120_000): Promise<void> {
    await waitFor({
      what: `the client of ${this.id} to be told that it is lost`,
      deadline,
      look: () => (this.ends().length > 0 ? true : undefined),
      seen: () => this.socket.messages.map(({ type }) => type).join(", "),
    });
    const history = (await request(this.url, "GET", `/history/${this.id}`)).json as Record<string, unknown>;
    expect(JSON.stringify(history[this.id])).toContain("InstanceLost");
  }

  /** Called some time after {@link isLost}: it was told no second time. */
  async wasLostOnce(): Promise<void> {
    expect(this.ends()).toEqual(["execution_error"]);
    await this.socket.close();
  }

  private ends(): readonly string[] {
    return this.socket.messages
      .filter((message) => this.isEnd(message, "execution_success") || this.isEnd(message, "execution_error"))
      .map(({ type }) => type);
  }

  private isEnd({ type, data }: Message, wanted: string): boolean {
    return type === wanted && data.prompt_id === this.id;
  }
}
