import { readFileSync } from "node:fs";
import { pause } from "../bell";
import { formatDuration } from "../format";
import { ComfyUI } from "../health";
import { type Activity, longestSilence, lookInterval, noticeable, Silence } from "../instance";
import { computed, type ProcessIdentity } from "./processes";

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

/** Returns why a process is taken as hung, once it is; null when the signal comes first. See {@link Silence}. */
export async function untilHung(watch: LivenessWatch): Promise<string | null> {
  const { url, identity, excused, report, signal } = watch;
  const comfyui = new ComfyUI(url, new AbortController().signal);
  const silence = new Silence(performance.now(), activityOf(identity));
  let told = false;
  for (;;) {
    await pause(watch.interval ?? lookInterval, signal);
    if (signal.aborted) return null;
    const answers = await comfyui.answers();
    if (signal.aborted) return null;
    const now = performance.now();
    const activity = activityOf(identity);
    if (activity !== null) silence.observe(now, activity);
    if (answers || activity === null || excused()) silence.interrupt(now);
    const silent = silence.lasts(now);
    if (silent >= (watch.longestSilence ?? longestSilence)) {
      return `for ${formatDuration(silent)} it has not answered at ${url}, and neither computed nor read or written anything`;
    }
    if (silent >= noticeable) report(`no sign of life for ${formatDuration(silent)}`);
    else if (told) report("");
    told = silent >= noticeable;
  }
}

/** What it has done so far; null when the process is gone. */
function activityOf(identity: ProcessIdentity): Activity | null {
  const at = performance.now();
  const seconds = computed(identity);
  if (seconds === null) return null;
  try {
    return { at, seconds, bytes: readFileSync(`/proc/${identity.pid}/io`, "utf8") };
  } catch {
    return { at, seconds, bytes: "" }; // A kernel without this account: computing decides.
  }
}
