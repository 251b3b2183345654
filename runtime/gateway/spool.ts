import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { formatSize } from "../format";
import type { Log } from "./log";
import { ResultStore } from "./result-store";
import { type SpoolChanges, unwatched } from "./spool-changes";
import type { GatewaySettings } from "./targets";
import { UploadStore } from "./upload-store";

/** Results that are kept at the most, since each takes memory: five times as many as one ComfyUI has in its history. */
const mostResults = 50_000;

/** The gateway's folder for what outlives instances and its own restarts: results and uploads, under one size limit. */
export class Spool {
  private tidying: Promise<void> = Promise.resolve();

  private constructor(
    readonly results: ResultStore,
    readonly uploads: UploadStore,
    private readonly limits: () => Pick<GatewaySettings, "resultRetention" | "maximumSpoolSize">,
    private readonly log: Log,
  ) {}

  static async open(
    folder: string,
    limits: () => Pick<GatewaySettings, "resultRetention" | "maximumSpoolSize">,
    log: Log,
    changes: SpoolChanges = unwatched,
  ): Promise<Spool> {
    // What a killed gateway had not finished writing.
    await rm(join(folder, "incoming"), { recursive: true, force: true });
    await mkdir(join(folder, "incoming"), { recursive: true, mode: 0o700 });
    const results = await ResultStore.open(folder, log, changes);
    return new Spool(results, await UploadStore.open(folder, log, changes), limits, log);
  }

  get bytes(): number {
    return this.results.bytes + this.uploads.bytes;
  }

  /** Bytes above which nothing is kept: all else would have to go for it. */
  get largestFile(): number {
    return this.limits().maximumSpoolSize;
  }

  /** Removes what is past its retention, then the oldest until the rest fits. One at a time, in the order of calls. */
  tidy(now = Date.now()): Promise<void> {
    const next = this.tidying.then(() => this.tidyOnce(now));
    this.tidying = next.catch(() => {});
    return next;
  }

  private async tidyOnce(now: number): Promise<void> {
    const { resultRetention, maximumSpoolSize } = this.limits();
    const expired = await this.results.expire(resultRetention, now);
    if (expired > 0) this.log(`${expired} results passed their retention and were removed`);
    const surplus = await this.results.removeBeyond(mostResults);
    if (surplus > 0) this.log(`the ${surplus} oldest results were removed: ${mostResults} are kept at the most`);
    if (this.bytes <= maximumSpoolSize) return;
    const oldestFirst = [...this.results.kept(), ...this.uploads.kept()].sort((a, b) => a.at - b.at);
    for (const kept of oldestFirst) {
      if (this.bytes <= maximumSpoolSize) break;
      await kept.remove();
      this.log(
        `${kept.what} (${formatSize(kept.bytes)}) was removed: the spool may have ${formatSize(maximumSpoolSize)}`,
      );
    }
  }
}
