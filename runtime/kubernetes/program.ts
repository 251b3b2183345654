import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Owner } from "../deployment";
import { packageRoot } from "../package-root";
import type { Cluster } from "./connection";
import { orNull, statusOf } from "./failure";
import { annotationsOf, selectorOf } from "./names";
import { programPlaces } from "./program-places";

/** What pods run, each bundled to one file, by its name in the ConfigMap. */
const files = ["gateway.js", "agent.js", "snapshot-threads.js"] as const;

/**
 * Unpacks the programs and goes on as the one that is named first, in the same process, so that this is process 1 and hears of signals.
 */
const starter = `"use strict";
const fs = require("node:fs");
const zlib = require("node:zlib");
for (const name of fs.readdirSync(__dirname)) {
  if (!name.endsWith(".gz")) continue;
  fs.writeFileSync("${programPlaces.unpacked}/" + name.slice(0, -3), zlib.gunzipSync(fs.readFileSync(__dirname + "/" + name)));
}
const [node, , file, ...rest] = process.argv;
process.argv = [node, "${programPlaces.unpacked}/" + file, ...rest];
require(process.argv[1]);
`;

const programLabel = "pulumi-comfyui/program";

interface Program {
  readonly hash: string;
  readonly content: Readonly<Record<string, string>>;
}

let built: Program | undefined;

/** Read once: a provider's process asks for every service. */
function program(): Program {
  if (built !== undefined) return built;
  const hash = createHash("sha256").update(starter);
  const content: Record<string, string> = {};
  for (const name of files) {
    const path = join(packageRoot(), "dist", "bundles", name);
    if (!existsSync(path)) throw new Error(`${path} is missing: run "npm run build" in ${packageRoot()}`);
    const plain = readFileSync(path);
    hash.update(`${name}\n${plain.length}\n`).update(plain);
    content[`${name}.gz`] = gzipSync(plain, { level: 9 }).toString("base64");
  }
  built = { hash: hash.digest("hex").slice(0, 10), content };
  return built;
}

/** Identity of what pods run, of this version of the package. */
export function programHash(): string {
  return program().hash;
}

/** Whose pods run the programs: each service and workstation has its own copy, which goes with it. */
export interface ProgramHolder {
  readonly cluster: Cluster;
  /** How the names of its objects begin. */
  readonly prefix: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Makes sure that a namespace has the programs of this version for a service or workstation; returns the name of their ConfigMap. */
export async function provideProgram({ cluster, prefix, labels }: ProgramHolder, owner: Owner): Promise<string> {
  const { core, namespace } = cluster;
  const { hash, content } = program();
  const name = `${prefix}-program-${hash}`;
  const metadata = {
    name,
    labels: { ...labels, [programLabel]: hash },
    annotations: { ...annotationsOf(owner) },
  };
  if ((await orNull(core.readNamespacedConfigMap({ name, namespace }))) !== null) return name;
  try {
    await core.createNamespacedConfigMap({
      namespace,
      body: {
        metadata,
        data: { [programPlaces.starter]: starter },
        binaryData: { ...content },
        immutable: true,
      },
    });
  } catch (error) {
    if (statusOf(error) !== 409) throw error;
  }
  return name;
}

/** Removes the programs of a service or workstation that none of the named ones is; all without any. */
export async function removePrograms(
  { cluster, labels }: ProgramHolder,
  used: ReadonlySet<string> | null,
): Promise<void> {
  const { core, namespace } = cluster;
  const labelSelector = `${selectorOf(labels)},${programLabel}`;
  const { items } = await core.listNamespacedConfigMap({ namespace, labelSelector });
  for (const { metadata } of items) {
    const name = metadata?.name;
    if (name !== undefined && used?.has(name) !== true)
      await orNull(core.deleteNamespacedConfigMap({ name, namespace }));
  }
}
