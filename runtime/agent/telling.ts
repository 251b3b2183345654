import { pause } from "../bell";
import { idleStoppedAnnotation } from "../deployment/workstation";
import { ApiError, KubernetesApi } from "../kubernetes/api";
import type { InClusterAccess } from "../kubernetes/in-cluster";
import { annotationsFor, labelsOf, workstationNames } from "../kubernetes/names";

/** Milliseconds between two writes: what comes meanwhile is in the next one. */
const interval = 1_000;
/** Milliseconds before a write that failed is tried again; doubled up to the longest. */
const firstPause = 1_000;
const longestPause = 5_000;

/** What is to be written, by key of the ConfigMap's data; annotations of null are taken off. */
interface News {
  readonly data: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string | null>>;
}

const nothing: News = { data: {}, annotations: {} };

/**
 * Writes what a workstation's agent has to tell into its ConfigMap. One write at a time; the last word counts. An API server that is away
 * hears of it later.
 */
export class Telling {
  readonly #api: KubernetesApi;
  readonly #name: string;
  readonly #namespace: string;
  #news = nothing;
  #lastTold: Record<string, string> = {};
  #writing: Promise<void> | null = null;
  /** Whether somebody waits for what was told. */
  #hurried = false;

  constructor(
    private readonly workstation: string,
    private readonly owner: string,
    access: InClusterAccess,
    private readonly say: (message: string) => void,
    private readonly signal: AbortSignal,
  ) {
    this.#api = new KubernetesApi(access);
    this.#name = workstationNames(workstation).workstation;
    this.#namespace = access.namespace;
    // A workstation that runs has not stopped itself.
    this.#news = { data: {}, annotations: { [idleStoppedAnnotation]: null } };
  }

  /** What an earlier agent has told, by key; nothing where it cannot be found out. */
  async earlier(): Promise<Readonly<Record<string, string>>> {
    const path = `/api/v1/namespaces/${this.#namespace}/configmaps/${this.#name}`;
    try {
      const found = (await this.#api.request({ path })) as { readonly data?: Readonly<Record<string, string>> };
      return found.data ?? {};
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) {
        this.say(`what an earlier agent told could not be read: ${(error as Error).message}`);
      }
      return {};
    }
  }

  /** Tells a value under a key, soon. What was told already is not told again. */
  tell(key: string, value: unknown): void {
    const text = JSON.stringify(value);
    if (this.#lastTold[key] === text) return;
    this.#lastTold[key] = text;
    this.#news = { ...this.#news, data: { ...this.#news.data, [key]: text } };
    this.#writing ??= this.#write().finally(() => {
      this.#writing = null;
    });
  }

  /** Waits until all that was told is written. False where the deadline came first. */
  async told(deadline: number): Promise<boolean> {
    this.#hurried = true;
    const over = new AbortController();
    const written = (this.#writing ?? Promise.resolve()).then(() => true);
    const late = pause(deadline, over.signal).then(() => false);
    try {
      return await Promise.race([written, late]);
    } finally {
      over.abort();
      this.#hurried = false;
    }
  }

  /**
   * Notes that nobody uses the workstation, and ends its pod by its Deployment's count. In this order: stopped without the note would
   * look as if somebody else had done it.
   */
  async stopIdle(since: string): Promise<void> {
    await this.#patch({ data: {}, annotations: { [idleStoppedAnnotation]: since } });
    const path = `/apis/apps/v1/namespaces/${this.#namespace}/deployments/${this.#name}/scale`;
    await this.#api.request({ method: "PATCH", path, contentType: mergePatch, body: { spec: { replicas: 0 } } });
  }

  get #hasNews(): boolean {
    const { data, annotations } = this.#news;
    return Object.keys(data).length + Object.keys(annotations).length > 0;
  }

  async #write(): Promise<void> {
    let wait = firstPause;
    while (!this.signal.aborted && this.#hasNews) {
      const news = this.#news;
      this.#news = nothing;
      try {
        await this.#patch(news);
        wait = firstPause;
        await pause(this.#hurried ? 0 : interval, this.signal);
      } catch (error) {
        const later = this.#news;
        this.#news = {
          data: { ...news.data, ...later.data },
          annotations: { ...news.annotations, ...later.annotations },
        };
        this.say(`what it does could not be told: ${(error as Error).message}`);
        await pause(wait, this.signal);
        wait = Math.min(wait * 2, longestPause);
      }
    }
  }

  async #patch({ data, annotations }: News): Promise<void> {
    const folder = `/api/v1/namespaces/${this.#namespace}/configmaps`;
    const body = { data, metadata: { annotations } };
    try {
      await this.#api.request({ method: "PATCH", path: `${folder}/${this.#name}`, contentType: mergePatch, body });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      const kept = Object.fromEntries(Object.entries(annotations).filter(([, value]) => value !== null));
      const metadata = {
        name: this.#name,
        labels: labelsOf(this.workstation, "workstation"),
        annotations: { ...annotationsFor(this.owner), ...kept },
      };
      await this.#api.request({ method: "POST", path: folder, body: { metadata, data } });
    }
  }
}

const mergePatch = "application/merge-patch+json";
