import { copyFile, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Instance } from "../../runtime/gateway/instance";
import { PromptLedger } from "../../runtime/gateway/prompt-ledger";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "prompt-ledger-"));
});
afterEach(() => rm(folder, { recursive: true }));

const open = () => PromptLedger.open(folder, () => undefined);

function instance(id: string): Instance {
  return new Instance({ id, release: "r1", url: "http://127.0.0.1:1", epoch: 1, state: "ready" });
}

test("a note that a kill kept from getting its place does not stand for its prompt, and goes", async () => {
  const prompt = { id: "mine", clientId: null, clients: [], request: "{}" };
  const prompts = join(folder, "prompts");
  await (await open()).submit(prompt, instance("r1/0"));
  const [name = ""] = await readdir(prompts);
  await copyFile(join(prompts, name), join(prompts, `${name}.0b0c.tmp`));
  await (await open()).submit(prompt, instance("r2/0"));

  const ledger = await open();
  expect(ledger.all().map(({ instance: { id } }) => id)).toEqual(["r2/0"]);
  expect(await readdir(prompts)).toEqual([name]);
});
