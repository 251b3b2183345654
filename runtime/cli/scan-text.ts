import { formatSize } from "../format";
import type { Scan } from "../snapshot";
import { facts, table } from "./output";

/** What `--json` gives of a scan. */
export function scanDocument({ summary, pluginHashes, bytesRead, remarks }: Scan) {
  return { ...summary, pluginHashes, bytesRead, remarks };
}

/** The same for a person. */
export function scanText({ summary, bytesRead }: Scan): string {
  const { id, comfyui, python, files, bytes, plugins, distributions } = summary;
  const head = facts([
    ["id", id],
    ["comfyui", comfyui],
    ["python", python],
    ["content", `${files} entries, ${formatSize(bytes)} (${formatSize(bytesRead)} read by this scan)`],
  ]);
  return [head, versions("PLUGIN", plugins), versions("DISTRIBUTION", distributions)].join("\n\n");
}

function versions(kind: string, byName: Readonly<Record<string, string>>): string {
  const entries = Object.entries(byName);
  return entries.length === 0 ? `no ${kind.toLowerCase()}s` : table([kind, "VERSION"], entries);
}
