import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { describeUnexpected, type PackedSnapshot, pack, UnexpectedContentError } from "../snapshot";
import type { PackOptions } from "./options";
import { packExits } from "./pack-exits";
import type { NotPackedMessage, PackedMessage, PackLine } from "./pack-spec";
import { packSpecSchema } from "./pack-spec";
import { outlookOf } from "./restoring";
import { readTold } from "./told";

/** Bytes that Kubernetes keeps of a container's termination message. */
const longestMessage = 4096;

/**
 * Packs the environment that is mounted, for the Job beside a workstation's claim. What comes of it is the container's termination message;
 * its output is the progress, one JSON object a line. Returns the exit code.
 */
export async function runPack(options: PackOptions): Promise<number> {
  const life = new AbortController();
  const end = () => life.abort(new Error("the agent was told to end while it packed"));
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, end);
  try {
    const { reference, bytesAdded, bytesStored } = await packAsTold(options, life.signal);
    conclude(options, { reference, bytesAdded, bytesStored });
    say(`packed ${reference}`);
    return 0;
  } catch (error) {
    const reason = life.signal.aborted ? (life.signal.reason as Error).message : (error as Error).message;
    say(reason);
    conclude(options, { reason: fitting(reason) });
    if (life.signal.aborted) return packExits.ended;
    return outlookOf(error) === "passes" ? packExits.passing : packExits.fault;
  }
}

async function packAsTold({ spec: path, index }: PackOptions, signal: AbortSignal): Promise<PackedSnapshot> {
  const { environment, models, store, settings, plugins, promised } = readTold(path, packSpecSchema);
  mkdirSync(dirname(index), { recursive: true });
  say(`packing ${environment.root} into ${store}`);
  try {
    return await pack({
      ...{ environment, models, store, settings, plugins, index, signal },
      expectedId: promised.id,
      // Its interpreter is in ComfyUI's image, not in this one.
      usedElsewhere: true,
      progress: say,
    });
  } catch (error) {
    if (!(error instanceof UnexpectedContentError)) throw error;
    throw new Error(describeUnexpected(promised, error.found), { cause: error });
  }
}

function say(message: string): void {
  const line: PackLine = { at: new Date().toISOString(), message };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function conclude({ terminationLog }: PackOptions, message: PackedMessage | NotPackedMessage): void {
  try {
    writeFileSync(terminationLog, JSON.stringify(message));
  } catch (error) {
    // The output has the same; whoever asked finds it there.
    say(`${terminationLog} could not be written: ${(error as Error).message}`);
  }
}

/** A reason that, as JSON, Kubernetes keeps whole. */
function fitting(reason: string): string {
  const size = (text: string) => Buffer.byteLength(JSON.stringify({ reason: text }));
  if (size(reason) <= longestMessage) return reason;
  let length = Math.min(reason.length, longestMessage);
  while (size(`${reason.slice(0, length).toWellFormed()}…`) > longestMessage) length -= 50;
  return `${reason.slice(0, length).toWellFormed()}…`;
}
