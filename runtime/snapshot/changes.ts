import type { EnvironmentSummary } from "./types";

/** The beginning of an identity, by which a person knows it. */
export const shortId = (id: string) => id.slice(0, 12);

/** What is different between two environments, in the words of a person: plugins and distributions by name and version. */
export function describeChanges(before: EnvironmentSummary, after: EnvironmentSummary): readonly string[] {
  return [
    ...mapChanges("plugin", before.plugins, after.plugins),
    ...mapChanges("distribution", before.distributions, after.distributions),
    ...(before.python === after.python ? [] : [`Python ${before.python} → ${after.python}`]),
    ...(before.comfyui === after.comfyui ? [] : [`ComfyUI ${before.comfyui} → ${after.comfyui}`]),
  ];
}

/** Differences that a message names; a person can scan for the others. */
const mostNamed = 10;

/** Why nothing was packed where what was found is not what the preview promised. */
export function describeUnexpected(promised: EnvironmentSummary, found: EnvironmentSummary): string {
  const changes = describeChanges(promised, found);
  const more = changes.length > mostNamed ? [`and ${changes.length - mostNamed} more`] : [];
  const named = [...changes.slice(0, mostNamed), ...more].join("; ") || "other files";
  return (
    `the environment changed between the preview and the packing, ${shortId(promised.id)} became ${shortId(found.id)}: ${named}; ` +
    "save and stop what writes there, then run again"
  );
}

function mapChanges(
  what: string,
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): readonly string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].sort().flatMap((name) => {
    const [old, now] = [before[name], after[name]];
    if (old === now) return [];
    if (old === undefined) return [`+ ${what} ${name} ${now}`];
    if (now === undefined) return [`- ${what} ${name} ${old}`];
    return [`~ ${what} ${name} ${old} → ${now}`];
  });
}
