import { formatDuration } from "../format";
import { DeadlineError, waitFor } from "../waiting";
import { ComfyUI } from "./comfyui";
import type { Finding, ProofPhase } from "./finding";
import { type ExpectedPlugin, judgePlugins, type PluginFault } from "./plugins";
import { runSmoke } from "./smoke";
import { parseStartupLog, type StartupReport } from "./startup-log";

export interface ProofRequest {
  /** For example `http://127.0.0.1:40123`. */
  readonly url: string;
  /** All that the process has printed since its start. */
  readonly readLog: () => string;
  readonly plugins: readonly ExpectedPlugin[];
  /** Names of plugins that may fail to load. */
  readonly acceptFailing: readonly string[];
  /** A workflow in API format that must run to a result, or null. */
  readonly smoke: Readonly<Record<string, unknown>> | null;
  /** Milliseconds that the smoke workflow gets. */
  readonly smokeTimeout: number;
  /** Milliseconds for which the server must keep answering once all the rest is proven. */
  readonly stableFor: number;
  /** Milliseconds that the process gets to open its port. */
  readonly startTimeout: number;
  /** Hears of every phase, and within one of what it waits for. */
  readonly report: (phase: ProofPhase, detail: string) => void;
  /** Aborted when the process ends or nobody wants the proof any more; its reason is thrown. */
  readonly signal: AbortSignal;
}

export type Proof =
  | {
      readonly proven: true;
      /** What a person may want to know although it is no fault. */
      readonly remarks: readonly string[];
    }
  | { readonly proven: false; readonly finding: Finding };

/** Milliseconds after the port opened in which `/object_info` must have answered once. */
const objectInfoDeadline = 120_000;

/**
 * Proves a ComfyUI process from beside it: it answers, its plugins are in the states that they have to be in, the smoke
 * workflow runs to a result, and it goes on answering. An HTTP 200 alone would only say that imports were attempted.
 *
 * A finding is conclusive: another start of the same environment would end the same way. What may go better the next
 * time is thrown: the signal's reason, a server that stopped answering (`DeadlineError`), a request that failed.
 */
export async function prove(request: ProofRequest): Promise<Proof> {
  const { url, report, signal } = request;
  const comfyui = new ComfyUI(url, signal);
  const started = await untilListening(comfyui, request);
  if ("finding" in started) return { proven: false, finding: started.finding };

  report("importing", "asking for the node classes");
  const classes = await waitFor({
    what: "the node classes at /object_info",
    deadline: objectInfoDeadline,
    interval: 500,
    signal,
    look: () => comfyui.classes().catch(() => undefined),
  });
  const faults = judgePlugins(request.plugins, request.acceptFailing, started.report, classes);
  if (faults.length > 0) return { proven: false, finding: findingOf(faults) };

  if (request.smoke !== null) {
    report("smoke", "running the smoke workflow");
    const finding = await runSmoke(comfyui, {
      workflow: request.smoke,
      timeout: request.smokeTimeout,
      progress: (message) => report("smoke", message),
      signal,
    });
    if (finding !== null) return { proven: false, finding };
  }
  await hold(comfyui, request);
  return { proven: true, remarks: remarksOf(started.report, request.plugins) };
}

/** The port opens only after every plugin was imported; until then what is printed tells how far it is. */
async function untilListening(
  comfyui: ComfyUI,
  { url, readLog, startTimeout, report, signal }: ProofRequest,
): Promise<{ readonly report: StartupReport } | { readonly finding: Finding }> {
  let phase: ProofPhase = "booting";
  let read = "";
  try {
    return await waitFor({
      what: `an answer from ${url}`,
      deadline: startTimeout,
      signal,
      look: async () => {
        const listening = await comfyui.answers();
        const log = readLog();
        if (listening) return { report: parseStartupLog(log) };
        if (log !== read || read === "") {
          const { importing, lastLine } = parseStartupLog(log);
          phase = importing ? "importing" : "booting";
          report(phase, lastLine);
        }
        read = log;
        return undefined;
      },
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    return { finding: { phase, reason: `it did not listen at ${url} within ${formatDuration(startTimeout)}` } };
  }
}

/**
 * Starts over when the server is silent: stability is what it has shown in one piece. Gives up when it is silent for as
 * long as it may take to start, since waiting for it is then no better than starting another one.
 */
async function hold(comfyui: ComfyUI, { url, stableFor, startTimeout, report, signal }: ProofRequest): Promise<void> {
  let since = performance.now();
  let answered = since;
  await waitFor({
    what: "it to stay stable",
    deadline: Number.POSITIVE_INFINITY,
    interval: Math.min(500, Math.max(50, stableFor / 4)),
    signal,
    look: async () => {
      if (!(await comfyui.answers())) {
        since = performance.now();
        const silent = formatDuration(since - answered);
        report("stabilizing", "the server does not answer");
        if (since - answered >= startTimeout) throw new DeadlineError(`${url} has not answered for ${silent}`);
        return undefined;
      }
      answered = performance.now();
      const held = performance.now() - since;
      report("stabilizing", `stable for ${Math.floor(held / 1000)}s of ${formatDuration(stableFor)}`);
      return held >= stableFor ? true : undefined;
    },
  });
}

function findingOf(faults: readonly PluginFault[]): Finding {
  const [first] = faults;
  const reason = faults.map(({ name, reason: why }) => `plugin ${name}: ${why}`).join("; ");
  const tracebacks = faults.flatMap(({ name, traceback }) => (traceback === null ? [] : [`${name}:\n${traceback}`]));
  return {
    phase: "importing",
    reason,
    ...(first === undefined ? {} : { plugin: first.name }),
    ...(tracebacks.length === 0 ? {} : { traceback: tracebacks.join("\n\n") }),
  };
}

function remarksOf(report: StartupReport, expected: readonly ExpectedPlugin[]): readonly string[] {
  const known = new Map(expected.map(({ name, baseline }) => [name, baseline]));
  return [
    ...report.coreFailures.map((file) => `ComfyUI's own ${file} failed to import`),
    ...report.prestartupFailed.map((name) => `the prestartup script of plugin ${name} failed`),
    ...report.plugins.flatMap(({ name, failed }) => {
      if (failed) return [`plugin ${name} failed to load, as it did before or was accepted to`];
      return known.get(name)?.state === "failed" ? [`plugin ${name}, which failed before, loads`] : [];
    }),
  ];
}
