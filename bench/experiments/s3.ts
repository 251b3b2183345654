import { randomFillSync } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { defaultLayout } from "../../runtime/environment";
import { type Measured, median } from "../measure";
import { startProxy, startS3Server } from "../s3-server";
import { listing, memoryFolder, type Workshop } from "../workshop";

/** Bytes a second that one connection may carry, as the front ends of object stores allow. */
export const connectionLimit = 85e6;
/** Connections that are measured. */
const counts = [1, 2, 4, 8] as const;
/** Bytes of the tree: with more, what a command does besides sending or receiving weighs less. */
const treeBytes = 2e9;
const fileBytes = 32 * 1024 * 1024;

/** One direction, with a number of connections; without a limit, what the processors allow. */
export interface Transfer {
  readonly direction: "up" | "down";
  readonly connections: number;
  readonly limited: boolean;
  /** Bytes a second of whole commands, of each run. */
  readonly rates: readonly number[];
  /** Seconds of each run. */
  readonly seconds: readonly number[];
  /** Processor time of the engine alone, of each run; empty without GNU time. */
  readonly cpuSeconds: readonly number[];
  /** Of all processors' time while it ran, by any process, from 0 to 1; of each run. */
  readonly busy: readonly number[];
}

/**
 * Packs to an S3 server that limits each connection, and restores from it. The content cannot be compressed, so that it is the
 * store that is measured and not the compression; tree, server and target are in memory.
 */
export async function s3Rate(shop: Workshop): Promise<void> {
  const place = memoryFolder(`pulumi-comfyui-bench-${process.pid}`, treeBytes * 3.2);
  if ("reason" in place) return shop.results.missing("s3.rate", place.reason);
  const stops: (() => Promise<unknown>)[] = [];
  try {
    const server = await startS3Server(join(place.folder, "server"), shop.ours.repository);
    stops.push(server.stop);
    const proxy = async (rate: number) => {
      const started = await startProxy(shop.ours.proxyProgram, server.port, rate);
      stops.push(started.stop);
      return started.endpoint;
    };
    const [limited, free] = [await proxy(connectionLimit), await proxy(Number.POSITIVE_INFINITY)];
    const tree = join(place.folder, "tree");
    makeTree(shop, tree);
    const settings = (isLimited: boolean, connections: number) => {
      return { endpoint: isLimited ? limited : free, region: "us-east-1", connections };
    };
    const state = join(place.folder, "state");
    const packTo = (name: string, isLimited: boolean, connections: number) => {
      rmSync(state, { recursive: true, force: true });
      mkdirSync(state, { recursive: true });
      const request = {
        environment: { root: tree, layout: defaultLayout },
        models: "referenced",
        plugins: [],
        store: `s3://${server.bucket}/${name}`,
        index: join(state, "index"),
        settings: settings(isLimited, connections),
      };
      return shop.ours.engine("pack", request, state, server.env);
    };
    const target = join(place.folder, "target");
    const { stdout } = await shop.run(packTo("kept", false, 8));
    const { reference } = JSON.parse(stdout) as { readonly reference: string };
    const { bytes } = listing(join(server.folder, "kept"));
    const busy = new Map<string, number[]>();
    const cases = [...counts.map((count) => [count, true] as const), [8, false] as const];
    // Removed behind the server's back, whose notes about the objects stay: each upload goes to a prefix of its own.
    let uploads = 0;
    const sent = () => `sent-${uploads}`;
    const contestants = cases.flatMap(([connections, isLimited]) =>
      (["up", "down"] as const).map((direction) => {
        const name = nameOf(direction, connections, isLimited);
        let before = processorTime();
        return {
          name,
          command: () => {
            uploads += 1;
            const command =
              direction === "up"
                ? packTo(sent(), isLimited, connections)
                : shop.ours.engine(
                    "restore",
                    { reference, target, settings: settings(isLimited, connections) },
                    state,
                    server.env,
                  );
            before = processorTime();
            return command;
          },
          after: () => {
            busy.set(name, [...(busy.get(name) ?? []), busySince(before)]);
            rmSync(direction === "up" ? join(server.folder, sent()) : target, { recursive: true, force: true });
          },
        };
      }),
    );
    const runs = await shop.interleave(contestants);
    const transfers = cases.flatMap(([connections, isLimited]) =>
      (["up", "down"] as const).map((direction): Transfer => {
        const name = nameOf(direction, connections, isLimited);
        const seconds = runs(name).map((run: Measured) => run.seconds);
        const rates = seconds.map((taken) => bytes / taken);
        const cpuSeconds = runs(name).flatMap((run) => run.cpuSeconds ?? []);
        return { direction, connections, limited: isLimited, rates, seconds, cpuSeconds, busy: busy.get(name) ?? [] };
      }),
    );
    const { ours, theirs, note } = worstOf(transfers);
    const details = Object.fromEntries(
      transfers.flatMap(({ direction, connections, limited: isLimited, seconds, cpuSeconds }) => {
        const name = nameOf(direction, connections, isLimited);
        return [
          [`seconds ${name}`, seconds],
          [`CPU seconds ${name}`, cpuSeconds],
        ];
      }),
    );
    shop.results.ratio("s3.rate", ours, theirs, note, { bytes: [bytes], ...details });
  } finally {
    for (const stop of stops.reverse()) await stop();
    rmSync(place.folder, { recursive: true, force: true });
  }
}

/**
 * The transfer that comes least near to what limits it: its connections, or what the processors allow, which is what the same
 * transfer reaches without a limit. The note says for each which of the two it was.
 */
export function worstOf(transfers: readonly Transfer[]) {
  const judged = transfers
    .filter(({ limited }) => limited)
    .map(({ direction, connections, rates }) => {
      const free = transfers.find((other) => other.direction === direction && !other.limited);
      const byConnections = connections * connectionLimit;
      const byProcessors = free === undefined ? Number.POSITIVE_INFINITY : median(free.rates);
      const limit = Math.min(byConnections, byProcessors);
      const ratio = median(rates) / limit;
      const of = byProcessors < byConnections ? "the processors' limit" : "the connections' limit";
      const text = `${direction} ${connections}: ${megabytes(median(rates))} MB/s, ${ratio.toFixed(2)} of ${of}`;
      return { ours: rates, theirs: [limit], ratio, text };
    });
  const [worst] = [...judged].sort((a, b) => a.ratio - b.ratio);
  if (worst === undefined) throw new Error("nothing was transferred");
  const limits = transfers
    .filter(({ limited }) => !limited)
    .map(({ direction, rates, cpuSeconds, busy }) => {
      const cpu = cpuSeconds.length === 0 ? "" : `, ${median(cpuSeconds).toFixed(1)} CPU s of the engine`;
      const busyness = `processors ${Math.round(median(busy) * 100)} % busy`;
      return `no limit, ${direction}: ${megabytes(median(rates))} MB/s, ${busyness}${cpu}`;
    });
  return { ours: worst.ours, theirs: worst.theirs, note: [...judged.map(({ text }) => text), ...limits].join("; ") };
}

const megabytes = (bytes: number) => Math.round(bytes / 1e6);

function nameOf(direction: "up" | "down", connections: number, limited: boolean): string {
  return `${direction} ${connections}${limited ? "" : " no limit"}`;
}

/** An environment whose only large content is noise. */
function makeTree(shop: Workshop, tree: string): void {
  shop.copyFrame(tree);
  const folder = join(tree, "ComfyUI", "noise");
  mkdirSync(folder);
  const noise = Buffer.allocUnsafe(fileBytes);
  for (let number = 0; number * fileBytes < treeBytes; number += 1) {
    const file = openSync(join(folder, `${number}.bin`), "w");
    for (let at = 0; at < fileBytes; at += writeSync(file, randomFillSync(noise), 0, fileBytes - at));
    closeSync(file);
  }
}

interface ProcessorTime {
  readonly idle: number;
  readonly total: number;
}

/** Of all processors since the machine started, in clock ticks. */
function processorTime(): ProcessorTime {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [, ...fields] = line.split(/\s+/).map(Number);
  // user nice system idle iowait irq softirq steal; guests' time is within user's.
  const counted = fields.slice(0, 8);
  return { idle: (counted[3] ?? 0) + (counted[4] ?? 0), total: counted.reduce((sum, value) => sum + value, 0) };
}

function busySince(before: ProcessorTime): number {
  const now = processorTime();
  return now.total === before.total ? 0 : 1 - (now.idle - before.idle) / (now.total - before.total);
}
