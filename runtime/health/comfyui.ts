import { z } from "zod";

/**
 * Milliseconds that one cheap request gets. A native call that holds the interpreter's lock stops every answer for as
 * long as it lasts, seconds at times; a longer silence is judged by who asks again.
 */
const cheapTimeout = 5_000;
/** `/object_info` of a big environment asks every node class for its inputs, some of which list folders of models. */
const objectInfoTimeout = 60_000;

const queueAnswer = z.object({ exec_info: z.object({ queue_remaining: z.int() }) });
const objectInfoAnswer = z.record(z.string(), z.object({ python_module: z.string().optional() }));
const acceptedAnswer = z.object({ prompt_id: z.string(), node_errors: z.record(z.string(), z.unknown()).optional() });
const historyAnswer = z.record(
  z.string(),
  z.object({
    status: z
      .object({ status_str: z.string(), messages: z.array(z.tuple([z.string(), z.record(z.string(), z.unknown())])) })
      .nullish(),
  }),
);

/** How a prompt ended, as ComfyUI's history tells it. */
export interface PromptResult {
  readonly status: string;
  /** The server's messages about it, in order: name and data. */
  readonly messages: readonly (readonly [string, Readonly<Record<string, unknown>>])[];
}

/** ComfyUI refused a prompt before running it. */
export class PromptRefusedError extends Error {
  override readonly name = "PromptRefusedError";
}

/** The few requests that health needs of a ComfyUI server. Each has a time-out of its own and throws when it fails. */
export class ComfyUI {
  constructor(
    private readonly url: string,
    private readonly signal: AbortSignal,
  ) {}

  /** Whether the server answers; does not throw unless the signal is aborted. */
  async answers(): Promise<boolean> {
    try {
      const response = await this.request("/system_stats");
      await response.arrayBuffer();
      return response.ok;
    } catch {
      this.signal.throwIfAborted();
      return false;
    }
  }

  /** Running plus waiting prompts, or null while the server does not answer. */
  async queueRemaining(): Promise<number | null> {
    try {
      return queueAnswer.parse(await this.json("/prompt")).exec_info.queue_remaining;
    } catch {
      this.signal.throwIfAborted();
      return null;
    }
  }

  /** Each node class with the Python module that brought it, for example `custom_nodes.my_plugin`. */
  async classes(): Promise<ReadonlyMap<string, string>> {
    const answer = objectInfoAnswer.parse(await this.json("/object_info", objectInfoTimeout));
    return new Map(Object.entries(answer).map(([name, { python_module }]) => [name, python_module ?? ""]));
  }

  /** Queues a workflow and returns its prompt id. @throws {PromptRefusedError} when any part of it is refused. */
  async submit(workflow: Readonly<Record<string, unknown>>): Promise<string> {
    const response = await this.request("/prompt", cheapTimeout, { prompt: workflow, client_id: "health" });
    const text = await response.text();
    if (!response.ok) throw new PromptRefusedError(`HTTP ${response.status}: ${text.slice(0, 2000)}`);
    const { prompt_id, node_errors = {} } = acceptedAnswer.parse(JSON.parse(text));
    if (Object.keys(node_errors).length > 0) throw new PromptRefusedError(JSON.stringify(node_errors).slice(0, 2000));
    return prompt_id;
  }

  /** The result of a prompt, or null while it waits or runs. */
  async result(promptId: string): Promise<PromptResult | null> {
    const answer = historyAnswer.parse(await this.json(`/history/${encodeURIComponent(promptId)}`));
    const status = answer[promptId]?.status;
    return status ? { status: status.status_str, messages: status.messages } : null;
  }

  /** Takes a prompt's record out of the history. */
  async forget(promptId: string): Promise<void> {
    await (await this.request("/history", cheapTimeout, { delete: [promptId] })).arrayBuffer();
  }

  /** Takes a prompt out of the queue, or stops it where it runs. A node in one long call ends first. */
  async withdraw(promptId: string): Promise<void> {
    await (await this.request("/queue", cheapTimeout, { delete: [promptId] })).arrayBuffer();
    await (await this.request("/interrupt", cheapTimeout, { prompt_id: promptId })).arrayBuffer();
  }

  private async json(path: string, timeout = cheapTimeout): Promise<unknown> {
    const response = await this.request(path, timeout);
    if (!response.ok) throw new Error(`${path} answered HTTP ${response.status}`);
    return response.json();
  }

  private request(path: string, timeout = cheapTimeout, body?: unknown): Promise<Response> {
    return fetch(this.url + path, {
      signal: AbortSignal.any([this.signal, AbortSignal.timeout(timeout)]),
      ...(body === undefined
        ? {}
        : { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
  }
}
