import { readFileSync } from "node:fs";
import { pause } from "../bell";
import { formatDuration } from "../format";
import { ComfyUI } from "../health";
import { computed, type ProcessIdentity } from "./processes";

/** Milliseconds without any sign of life after which a process is taken as hung. */
const longestSilence = 10 * 60_000;
/** Milliseconds between two looks. */
const interval = 15_000;
/** Milliseconds of silence that a person is told of. */
const noticeable = 60_000;
/** A process that computes for less than this share of the time does nothing: what waits has threads that wake now and then. */
const idleShare = 0.01;

export interface LivenessWatch {
  readonly url: string;
  readonly identity: ProcessIdentity;
  /** Whether somebody else decides about its end now, so that silence does not count. */
  readonly excused: () => boolean;
  /** Hears of a silence, and with an empty text of its end. */
  readonly report: (detail: string) => void;
  readonly signal: AbortSignal;
  /** @default 10 minutes */
  readonly longestSilence?: number;
  /** @default 15 seconds */
  readonly interval?: number;
}

/**
 * Returns why a process is taken as hung, once it is; null when the signal comes first.
 *
 * Lenient on purpose, since a restart loses the prompts that it has. One native call that keeps the interpreter's lock stops every
 * answer for as long as it lasts, and loading a model from a slow disk may take minutes. So only a process that for the whole time
 * neither answered nor computed nor read or wrote anything is hung: one that was stopped, or whose threads wait for each other. One that
 * computes forever is never ended; its clients can interrupt it.
 */
export async function untilHung(watch: LivenessWatch): Promise<string | null> {
  const { url, identity, excused, report, signal } = watch;
  const comfyui = new ComfyUI(url, new AbortController().signal);
  let lively = performance.now();
  let before = activityOf(identity);
  let at = lively;
  let told = false;
  for (;;) {
    await pause(watch.interval ?? interval, signal);
    if (signal.aborted) return null;
    const answers = await comfyui.answers();
    if (signal.aborted) return null;
    const now = performance.now();
    const activity = activityOf(identity);
    const share = ((activity?.seconds ?? 0) - (before?.seconds ?? 0)) / ((now - at) / 1000);
    const active = activity === null || share >= idleShare || activity.bytes !== before?.bytes;
    if (answers || active || excused()) lively = now;
    [before, at] = [activity, now];
    const silent = now - lively;
    if (silent >= (watch.longestSilence ?? longestSilence)) {
      return `for ${formatDuration(silent)} it has not answered at ${url}, and neither computed nor read or written anything`;
    }
    if (silent >= noticeable) report(`no sign of life for ${formatDuration(silent)}`);
    else if (told) report("");
    told = silent >= noticeable;
  }
}

/** Seconds computed and bytes moved so far; null when the process is gone. */
function activityOf(identity: ProcessIdentity): { readonly seconds: number; readonly bytes: string } | null {
  const seconds = computed(identity);
  if (seconds === null) return null;
  try {
    return { seconds, bytes: readFileSync(`/proc/${identity.pid}/io`, "utf8") };
  } catch {
    return { seconds, bytes: "" }; // A kernel without this account: computing decides.
  }
}
