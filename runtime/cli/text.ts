/** The first digits of a digest, enough for a person to tell apart what a store holds. */
export function shortId(digest: string): string {
  return digest.slice(0, 12);
}

/** An ISO 8601 time as `2026-01-31 14:05:09` in the machine's time zone. */
export function localTime(iso: string): string {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return iso;
  const two = (value: number) => String(value).padStart(2, "0");
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}

/** Time since an ISO 8601 time in its largest whole unit, for example `12s`, `5m`, `3h`, `2d`. */
export function age(since: string, now: number): string {
  // Clocks of two processes on one machine agree, but may be set back in between.
  const seconds = Math.max(0, Math.floor((now - Date.parse(since)) / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** Lines, each moved to the right. */
export function indent(text: string, by = "  "): string {
  return text.replace(/^(?=.)/gm, by);
}
