import { fingerprintIn, type WorkstationFingerprint, workstationKeys } from "../deployment/workstation";
import type { PluginRecord } from "../environment";
import type { Scan } from "../snapshot";
import type { Telling } from "./telling";
import type { WorkstationSpec } from "./workstation-spec";

/** Milliseconds after which a scan that has not ended is worth a word. */
const longScan = 2_000;

/** What is known of the environment on the claim, told whenever it changes. */
export class Fingerprint {
  #known: WorkstationFingerprint | null = null;
  #plugins: readonly PluginRecord[] | null = null;
  #running = false;
  #scanning: NodeJS.Timeout | null = null;

  constructor(
    private readonly spec: WorkstationSpec,
    private readonly pod: string,
    private readonly telling: Telling | null,
  ) {}

  /** Takes over how plugins behaved when an earlier pod started. */
  async recall(): Promise<void> {
    try {
      this.#plugins = fingerprintIn(await this.telling?.earlier())?.plugins ?? null;
    } catch {
      // Of another version of this program: the next start tells anew.
    }
  }

  get current(): WorkstationFingerprint | null {
    return this.#known;
  }

  /** A start told how its plugins behave; null when it did not. */
  booted(plugins: readonly PluginRecord[] | null): void {
    this.#plugins = plugins;
    this.#change({ plugins });
  }

  set running(running: boolean) {
    this.#running = running;
    this.#change({ running });
  }

  scanBegins(): void {
    if (this.#scanning !== null) clearTimeout(this.#scanning);
    this.#scanning = setTimeout(() => this.#change({ scanning: true }), longScan);
    this.#scanning.unref();
  }

  scanned({ summary, pluginHashes, remarks }: Scan, at: string): void {
    this.#endScan();
    this.#known = {
      protocol: 1,
      ...{ at, pod: this.pod, models: "referenced", layout: this.spec.layout },
      ...{ summary, pluginHashes, remarks, plugins: this.#plugins },
      ...{ running: this.#running, scanning: false, problem: null },
    };
    this.#tell();
  }

  scanFailed(error: unknown): void {
    this.#endScan();
    this.#change({ scanning: false, problem: error instanceof Error ? error.message : String(error) });
  }

  #endScan(): void {
    if (this.#scanning !== null) clearTimeout(this.#scanning);
    this.#scanning = null;
  }

  #change(change: Partial<WorkstationFingerprint>): void {
    if (this.#known === null) return;
    this.#known = { ...this.#known, ...change };
    this.#tell();
  }

  #tell(): void {
    this.telling?.tell(workstationKeys.fingerprint, this.#known);
  }
}
