import { formatDuration } from "../format";
import { DeadlineError, waitFor } from "../waiting";
import { type ComfyUI, PromptRefusedError, type PromptResult } from "./comfyui";
import type { Finding } from "./finding";

export interface SmokeTest {
  readonly workflow: Readonly<Record<string, unknown>>;
  /** Milliseconds. */
  readonly timeout: number;
  readonly progress: (message: string) => void;
  readonly signal: AbortSignal;
}

/** Runs a workflow to its result. Null when it succeeds; its record is then taken out of the server's history. */
export async function runSmoke(
  comfyui: ComfyUI,
  { workflow, timeout, progress, signal }: SmokeTest,
): Promise<Finding | null> {
  let promptId: string;
  try {
    promptId = await comfyui.submit(workflow);
  } catch (error) {
    if (!(error instanceof PromptRefusedError)) throw error;
    return { phase: "smoke", reason: `ComfyUI refused the smoke workflow: ${error.message}` };
  }
  const look = async () => {
    try {
      return (await comfyui.result(promptId)) ?? undefined;
    } catch {
      // The server may be busy computing; the deadline decides, and an exit aborts the signal.
      signal.throwIfAborted();
      return undefined;
    }
  };
  try {
    const what = "the smoke workflow's result";
    const result = await waitFor({ what, deadline: timeout, look, progress, signal });
    if (result.status !== "success") return executionError(result);
    await comfyui.forget(promptId);
    return null;
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    const reason = `the smoke workflow did not finish within ${formatDuration(timeout)}`;
    return { phase: "smoke", reason: `${reason}${await withdrawn(comfyui, promptId, signal)}` };
  }
}

/** Empty, or what to add to the reason when the prompt may still run: a server that is too busy to answer, say. */
async function withdrawn(comfyui: ComfyUI, promptId: string, signal: AbortSignal): Promise<string> {
  try {
    await comfyui.withdraw(promptId);
    return "";
  } catch (error) {
    signal.throwIfAborted();
    return `; it could not be stopped: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function executionError({ messages }: PromptResult): Finding {
  const data = messages.find(([name]) => name === "execution_error")?.[1];
  if (data === undefined) {
    const last = messages.at(-1)?.[0] ?? "no message";
    return { phase: "smoke", reason: `the smoke workflow did not succeed: ${last}` };
  }
  const { node_id, node_type, exception_type, exception_message, traceback } = data;
  return {
    phase: "smoke",
    reason: `the smoke workflow failed in node ${node_id} (${node_type}): ${exception_type}: ${String(exception_message).trim()}`,
    ...(Array.isArray(traceback) ? { traceback: traceback.join("").trimEnd() } : {}),
  };
}
