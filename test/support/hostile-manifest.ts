import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";

/** A head as a snapshot has it, for manifests that a test writes by hand. */
export const plainHead = {
  format: 2,
  summary: {
    id: "0".repeat(64),
    plugins: {},
    distributions: {},
    python: "3.11.7",
    comfyui: "unknown",
    files: 0,
    bytes: 0,
  },
  layout: {
    comfyui: "ComfyUI",
    plugins: "ComfyUI/custom_nodes",
    dependencies: "venv",
    cache: ".cache",
    models: "ComfyUI/models",
  },
  root: "/srv/studio",
  interpreter: "",
  platform: {
    os: "linux",
    arch: "x64",
    glibc: null,
    python: "3.11.7",
    abi: "cpython-311-x86_64-linux-gnu",
    cuda: null,
  },
  plugins: [],
  models: { mode: "referenced", root: "/srv/studio/ComfyUI/models", files: [] },
};

export function sha256(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Puts a manifest of any records into a store, under its right digest; returns the reference. */
export function writeManifest(store: string, records: readonly unknown[]): string {
  return writeManifestAsIs(store, records.map(withHonestSummary(records)));
}

/** Files and bytes as the entries have them, where the head is a {@link plainHead} that says nothing of its own. */
function withHonestSummary(records: readonly unknown[]) {
  const entries = (records as { type?: string; size?: number }[]).filter(
    ({ type }) => !notEntries.includes(type ?? ""),
  );
  const bytes = entries.reduce(
    (sum, { type, size }) => sum + (type === "file" && Number.isSafeInteger(size) ? Math.max(size ?? 0, 0) : 0),
    0,
  );
  return (record: unknown, position: number): unknown => {
    const head = record as typeof plainHead;
    if (position > 0 || head.summary?.files !== 0) return record;
    return { ...head, summary: { ...head.summary, files: entries.length, bytes } };
  };
}

const notEntries = ["", "base", "pack", "frame", "removed"];

/** As {@link writeManifest}, with a summary that may lie. */
export function writeManifestAsIs(store: string, records: readonly unknown[]): string {
  const bytes = zstdCompressSync(Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join("")));
  mkdirSync(join(store, "snapshots"), { recursive: true });
  writeFileSync(join(store, "snapshots", sha256(bytes)), bytes);
  return `${store}#sha256:${sha256(bytes)}`;
}

/** Puts one frame as a pack of its own into a store; returns the manifest's records for them. */
export function writePack(store: string, content: Buffer): { pack: object; frame: object } {
  const bytes = zstdCompressSync(content);
  const name = sha256(bytes);
  mkdirSync(join(store, "packs", name.slice(0, 2)), { recursive: true });
  writeFileSync(join(store, "packs", name.slice(0, 2), name), bytes);
  return {
    pack: { type: "pack", sha256: name, size: bytes.length },
    frame: { type: "frame", pack: 0, offset: 0, length: bytes.length, size: content.length, sha256: name },
  };
}
