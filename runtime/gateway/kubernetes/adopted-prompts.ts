import { ask, UnansweredError } from "../ask";
import { clientKey } from "../exchange";
import type { Instance } from "../instance";
import { elements, members, memberText, stringOf } from "../json-text";
import type { GatewayParts } from "../parts";
import { lookAtQueue, UnusableAnswerError } from "../queue-look";

/** Milliseconds between two looks at an instance that did not answer. */
const pauseAfterFailure = 2_000;
/** Milliseconds after which every instance is looked at once more: a former leader may have had prompts on their way. */
const secondLook = 15_000;

/**
 * Finds the prompts that instances have and no note tells of: those of a former leader whose notes did not reach this one.
 * As long as an instance has not been looked at, nothing of it is safe.
 */
export class AdoptedPrompts {
  private readonly looked = new WeakSet<Instance>();
  private readonly looking = new WeakSet<Instance>();
  private readonly stopListening: () => void;
  private readonly again: NodeJS.Timeout;
  private closed = false;

  constructor(private readonly parts: GatewayParts) {
    this.stopListening = parts.fleet.onChange(() => this.lookAtNew());
    this.again = setTimeout(() => {
      for (const instance of parts.fleet.all()) if (this.looked.has(instance)) this.begin(instance);
    }, secondLook);
    this.lookAtNew();
  }

  /** Whether all that the instance had when it was first seen is known. */
  knows(instance: Instance): boolean {
    return this.looked.has(instance);
  }

  close(): void {
    this.closed = true;
    this.stopListening();
    clearTimeout(this.again);
  }

  private lookAtNew(): void {
    for (const instance of this.parts.fleet.all()) if (!this.looked.has(instance)) this.begin(instance);
  }

  private begin(instance: Instance): void {
    if (this.looking.has(instance) || this.closed || !instance.present) return;
    this.looking.add(instance);
    this.look(instance)
      .then(
        () => this.looked.add(instance),
        (error: Error) => {
          if (!(error instanceof UnansweredError)) this.parts.log(`${instance.id}: ${error.message}`);
          setTimeout(() => this.begin(instance), pauseAfterFailure).unref();
        },
      )
      .finally(() => this.looking.delete(instance));
  }

  private async look(instance: Instance): Promise<void> {
    // In this order: a prompt that ends between the two looks is found by the second.
    const queued = (await lookAtQueue(instance)).map(({ id, text }) => ({ id, item: text }));
    const { status, body } = await ask(instance, { path: "/history", timeout: 30_000 });
    if (status !== 200) throw new UnusableAnswerError(instance, "/history", `with ${status}`);
    const history = body.toString("utf8");
    const ended = members(history).map(({ key, start, end }) => ({
      id: key,
      item: memberText(history.slice(start, end), "prompt") ?? "[]",
    }));
    let adopted = 0;
    for (const { id, item } of [...queued, ...ended]) if (await this.adopt(instance, id, item)) adopted += 1;
    if (adopted > 0) this.parts.log(`${adopted} prompts were found on ${instance.id} of which there was no note`);
  }

  /** @param item as ComfyUI lists a prompt: number, id, graph, extra data, outputs. */
  private async adopt(instance: Instance, id: string, item: string): Promise<boolean> {
    const { ledger, spool } = this.parts;
    const kept = spool.results.get(id);
    const isKept = kept?.instance === instance.id && kept.epoch === instance.epoch;
    if (this.closed || id === "" || isKept || ledger.get(id) !== undefined) return false;
    const [number = "0", , graph = "{}", extra = "{}"] = elements(item).map(({ start, end }) => item.slice(start, end));
    const clientId = stringOf(memberText(extra, "client_id"));
    const clients = clientId === null ? [] : [clientKey(clientId)];
    const request = `{"prompt": ${graph}, "extra_data": ${extra}}`;
    await ledger.adopt({ id, clientId, clients, request }, instance, Number(number) || 0);
    this.parts.affinity.remember(clients, instance.id);
    this.parts.fleet.noteServed(instance.release);
    return true;
  }
}
