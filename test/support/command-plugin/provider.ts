import { randomBytes } from "node:crypto";
import { differences } from "../plugin-base/differences";
import type { Engine } from "../plugin-base/engine";
import { hasUnknown, plainObject, secret } from "../plugin-base/properties";
import type { ResourceDifference, Saved, StandIn, UpdateOptions } from "../plugin-base/stand-in";
import { textAt, type Values } from "../plugin-base/values";
import { type Output, runShell } from "./shell";

/** What the inputs hold that a resource has beyond them. */
const outputs = ["stdout", "stderr"];
const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** What the plugin does, apart from the protocol by which it is asked. */
export class CommandProvider implements StandIn {
  private readonly cancelled = new AbortController();

  constructor(private readonly engine: Engine) {}

  cancel(): void {
    this.cancelled.abort();
  }

  diffConfig() {
    return { changed: [], replaces: [] };
  }

  async configure(): Promise<void> {}

  async check(urn: string, _olds: Values, news: Values): Promise<Values> {
    demandLocal(urn);
    return { addPreviousOutputInEnv: true, ...news };
  }

  /** Changed triggers replace: the SDK asks for it as well (`replaceOnChanges`), whatever the plugin says. */
  async diff(_urn: string, olds: Values, news: Values): Promise<ResourceDifference> {
    const old = plainObject(olds);
    for (const name of outputs) delete old[name];
    const details = differences(old, plainObject(news), { replacing: ["triggers[*]"] });
    const replaces = [...details].filter(([, { replaces }]) => replaces).map(([path]) => path);
    return { details, replaces, deleteBeforeReplace: false };
  }

  async create(urn: string, news: Values, _timeout: number, preview: boolean): Promise<Saved> {
    const properties = await this.run(urn, news, textAt(plainObject(news), "create"), { preview, before: {} });
    return { id: preview ? "" : `${urn.split("::").at(-1)}${randomBytes(4).toString("hex")}`, properties };
  }

  async update(urn: string, olds: Values, news: Values, { preview }: UpdateOptions): Promise<Values> {
    const inputs = plainObject(news);
    const command = textAt(inputs, "update") ?? textAt(inputs, "create");
    return this.run(urn, news, command, { preview, before: plainObject(olds) });
  }

  async read(_urn: string, id: string, olds: Values, oldInputs: Values) {
    return { id, properties: olds, inputs: oldInputs };
  }

  async delete(urn: string, _id: string, olds: Values): Promise<void> {
    const old = plainObject(olds);
    const command = textAt(old, "delete");
    if (command !== undefined) await this.shell(urn, command, old, old);
  }

  private async run(
    urn: string,
    news: Values,
    command: string | undefined,
    { preview, before }: { readonly preview: boolean; readonly before: Values },
  ): Promise<Values> {
    const inputs = plainObject(news);
    if (preview || hasUnknown(news)) return { ...news, stdout: unknown, stderr: unknown };
    const output: Output =
      command === undefined
        ? { stdout: textAt(before, "stdout") ?? "", stderr: textAt(before, "stderr") ?? "" }
        : await this.shell(urn, command, inputs, before);
    // What a command prints may be any of what it was given.
    const mark = JSON.stringify(news) === JSON.stringify(inputs) ? (value: unknown) => value : secret;
    return { ...news, stdout: mark(output.stdout), stderr: mark(output.stderr) };
  }

  private shell(urn: string, command: string, inputs: Values, before: Values): Promise<Output> {
    return runShell({
      command,
      inputs,
      before,
      signal: this.cancelled.signal,
      show: (line) => void this.engine.status(line, urn),
    });
  }
}

function demandLocal(urn: string): void {
  const type = urn.split("::")[2]?.split("$").at(-1);
  if (type !== "command:local:Command") throw new Error(`the stand-in of command does not serve ${type}`);
}
