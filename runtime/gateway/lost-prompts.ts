import { setTimeout as delay } from "node:timers/promises";
import { UnansweredError } from "./ask";
import type { Fleet } from "./fleet";
import { Instance } from "./instance";
import { members, memberText, stringOf, withMember } from "./json-text";
import type { Log } from "./log";
import type { PromptEntry, PromptLedger } from "./prompt-ledger";
import { lookAtQueue } from "./queue-look";
import type { ResultCollector } from "./result-collector";
import type { Spool } from "./spool";

/** Milliseconds between two looks at a process that the targets no longer name but that still answers. */
const lookInterval = 500;
/** Milliseconds without a usable answer after which such a process counts as gone; a native call may hold it up for seconds. */
const longestSilence = 30_000;

export interface LostPromptsParts {
  readonly fleet: Fleet;
  readonly ledger: PromptLedger;
  readonly spool: Spool;
  readonly collector: ResultCollector;
  readonly log: Log;
  /** Tells the client; `messages` are a socket's, in order. */
  readonly onLost: (entry: PromptEntry, messages: readonly string[]) => void;
}

/** Reports prompts as failed whose process went, so that nobody waits for them for ever. */
export class LostPrompts {
  private readonly watched = new Set<string>();
  private readonly closing = new AbortController();

  constructor(private readonly parts: LostPromptsParts) {}

  /** Looks after everything that is held by processes which the targets do not name. */
  review(): void {
    const { fleet, ledger } = this.parts;
    for (const { instance } of ledger.all()) {
      const key = `${instance.id}#${instance.epoch}`;
      const known = fleet.get(instance.id);
      if (known?.epoch === instance.epoch || this.watched.has(key)) continue;
      this.watched.add(key);
      const process = new Instance({ ...instance, state: "draining" });
      process.present = false;
      void this.watch(process, known !== undefined)
        .catch((error: Error) => this.parts.log(`${instance.id}: ${error.message}`))
        .finally(() => this.watched.delete(key));
    }
  }

  close(): void {
    this.closing.abort();
  }

  private async watch(process: Instance, replaced: boolean): Promise<void> {
    const { fleet, ledger, collector } = this.parts;
    const lastAnswer = { at: Date.now() };
    while (!this.closing.signal.aborted && ledger.heldBy(process).length > 0) {
      // The targets may have named it again: a supervisor that was started anew does so.
      if (fleet.get(process.id)?.epoch === process.epoch) return;
      if (replaced || !(await this.stillHolds(process, lastAnswer))) return this.reportAll(process);
      await collector.look(process);
      await delay(lookInterval, undefined, { signal: this.closing.signal }).catch(() => {});
    }
  }

  /** Whether the process still answers; what it is silent about it is given time for. */
  private async stillHolds(process: Instance, lastAnswer: { at: number }): Promise<boolean> {
    try {
      process.queueRemaining = (await lookAtQueue(process)).length;
      lastAnswer.at = Date.now();
      return true;
    } catch (error) {
      if (error instanceof UnansweredError && error.refused) return false;
      return Date.now() - lastAnswer.at < longestSilence;
    }
  }

  private async reportAll(process: Instance): Promise<void> {
    const { ledger, fleet, collector, log } = this.parts;
    // One that is on its way learns its fate from its own request.
    const held = ledger.heldBy(process).filter(({ state }) => state !== "submitting");
    let lost = 0;
    for (const entry of held) {
      if (entry.record !== null) await collector.salvage(entry, entry.record, fleet.get(process.id));
      else {
        lost += 1;
        await this.report(entry, `instance ${process.id} vanished before this prompt's result was safe; run it again`);
      }
    }
    if (lost > 0) log(`instance ${process.id} was lost with ${lost} prompts; their clients were told`);
  }

  /** Keeps an error as the result of a prompt and tells its client. */
  async report(entry: PromptEntry, reason: string): Promise<void> {
    const { ledger, spool, onLost } = this.parts;
    const { id: promptId, clients, instance } = entry;
    // Its client may have removed it, or sent it again, since it was looked at.
    const isCurrent = () => ledger.get(promptId) === entry;
    if (!isCurrent()) return;
    const kept = spool.results.get(promptId);
    // The gateway was killed after the result was kept and before that was noted.
    if (kept?.instance === instance.id && kept.epoch === instance.epoch) return ledger.drop(entry);
    const { record, messages } = describeLoss(entry, await ledger.requestOf(entry), reason, Date.now());
    const staged = await spool.results.stage();
    const result = { promptId, clients, instance: instance.id, epoch: instance.epoch, lost: true };
    await spool.results.keep(staged, result, record, isCurrent);
    if (!isCurrent()) return;
    await ledger.drop(entry);
    onLost(entry, messages);
  }
}

/** What ComfyUI would have told of a prompt that failed, made of what the client sent. */
export function describeLoss(
  { id, number, clientId, instance }: Pick<PromptEntry, "id" | "number" | "clientId" | "instance">,
  request: string,
  reason: string,
  timestamp: number,
): { readonly record: string; readonly messages: readonly string[] } {
  const prompt = objectIn(request, "prompt");
  // ComfyUI names the node that failed; here all of them did, and clients expect one.
  const [first] = members(prompt);
  const node = first === undefined ? "{}" : prompt.slice(first.start, first.end);
  const extra = objectIn(request, "extra_data");
  const extraData = clientId === null ? extra : withMember(extra, "client_id", clientId);
  const data = {
    prompt_id: id,
    node_id: first?.key ?? "",
    node_type: classOf(node),
    executed: [],
    exception_message: `${reason}\n`,
    exception_type: "InstanceLost",
    traceback: [`  File "<gateway>", in ${instance.id}\n    ${reason}\n`],
    current_inputs: {},
    current_outputs: [],
    timestamp,
  };
  const status = { status_str: "error", completed: false, messages: [["execution_error", data]] };
  const item = `[${number ?? 0}, ${JSON.stringify(id)}, ${prompt}, ${extraData}, []]`;
  return {
    record: `{"prompt": ${item}, "outputs": {}, "status": ${JSON.stringify(status)}, "meta": {}}`,
    messages: [
      JSON.stringify({ type: "execution_error", data }),
      JSON.stringify({ type: "executing", data: { node: null, prompt_id: id } }),
    ],
  };
}

/** A member that is an object, or an empty one: what was never accepted may be no JSON. */
function objectIn(text: string, key: string): string {
  try {
    const found = memberText(text, key) ?? "{}";
    members(found);
    return found;
  } catch {
    return "{}";
  }
}

function classOf(node: string): string {
  try {
    return stringOf(memberText(node, "class_type")) ?? "";
  } catch {
    return "";
  }
}
