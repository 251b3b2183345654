import { Counter, Gauge, Registry } from "prom-client";
import type { Fleet } from "./fleet";
import type { PromptLedger } from "./prompt-ledger";
import type { Spool } from "./spool";

export interface Observed {
  readonly fleet: Fleet;
  readonly ledger: PromptLedger;
  readonly spool: Spool;
  readonly openSockets: () => number;
}

/** What a gateway counts, in Prometheus' text format at `/metrics`. */
export class Metrics {
  private readonly registry = new Registry();
  readonly requests = new Counter({
    name: "comfyui_gateway_requests_total",
    help: "Requests answered, by method and status.",
    labelNames: ["method", "status"],
    registers: [this.registry],
  });
  readonly prompts = new Counter({
    name: "comfyui_gateway_prompts_total",
    help: "Prompts that an instance accepted.",
    labelNames: ["release", "instance"],
    registers: [this.registry],
  });
  readonly lostPrompts = new Counter({
    name: "comfyui_gateway_lost_prompts_total",
    help: "Prompts reported as failed because their instance vanished.",
    registers: [this.registry],
  });
  /** Requests that wait for an instance to be ready. */
  held = 0;
  readonly retries = new Counter({
    name: "comfyui_gateway_retries_total",
    help: "Requests sent to another instance because the first did not answer.",
    registers: [this.registry],
  });

  /** Held requests may be prompts, and are counted as such: no instance is ready to take them. */
  get queue(): { readonly release: string; readonly prompts: number } | null {
    const { queue } = this.fleet;
    return queue === null ? null : { ...queue, prompts: queue.prompts + this.held };
  }

  private readonly fleet: Fleet;

  constructor({ fleet, ledger, spool, openSockets }: Observed) {
    this.fleet = fleet;
    const registers = [this.registry];
    new Gauge({
      name: "comfyui_gateway_in_flight",
      help: "Requests under way, by instance.",
      labelNames: ["instance"],
      registers,
      collect() {
        this.reset();
        for (const { id, inFlight } of fleet.all()) this.set({ instance: id }, inFlight);
      },
    });
    new Gauge({
      name: "comfyui_gateway_queue_remaining",
      help: "Running plus waiting prompts as an instance last answered; -1 while it does not answer.",
      labelNames: ["instance", "release", "state"],
      registers,
      collect() {
        this.reset();
        for (const { id, release, state, queueRemaining } of fleet.all()) {
          this.set({ instance: id, release, state }, queueRemaining ?? -1);
        }
      },
    });
    const queue = () => this.queue;
    new Gauge({
      name: "comfyui_gateway_queue",
      help: "Prompts of the serving release that run or wait, for autoscalers: to be divided by its instances.",
      labelNames: ["release"],
      registers,
      collect() {
        this.reset();
        const now = queue();
        if (now !== null) this.set({ release: now.release }, now.prompts);
      },
    });
    const gauge = (name: string, help: string, value: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    gauge("comfyui_gateway_held", "Requests that wait for an instance to be ready.", () => this.held);
    gauge("comfyui_gateway_sockets", "WebSockets of clients.", openSockets);
    gauge("comfyui_gateway_outstanding_prompts", "Prompts whose result is not kept yet.", () => ledger.all().length);
    gauge("comfyui_gateway_spool_bytes", "Bytes of kept results and uploads.", () => spool.bytes);
    gauge("comfyui_gateway_generation", "Generation of the targets in force.", () => fleet.generation);
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }
}
