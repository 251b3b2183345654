import { chmodSync, readFileSync } from "node:fs";
import { delimiter } from "node:path";
import { describe, expect, it } from "vitest";
import { Pulumi, PulumiFailedError } from "../../../runtime/cli/recover/pulumi";
import { InterruptedError } from "../../../runtime/cli/surroundings";
import { DeadlineError } from "../../../runtime/waiting";
import { temporaryFolder, writeFiles } from "../../support/cli-surroundings";

/** A `pulumi` command that is this shell script. */
function scripted(script: string, over: { readonly deadline?: number; readonly signal?: AbortSignal } = {}) {
  const cwd = temporaryFolder();
  writeFiles(cwd, { "bin/pulumi": `#!/bin/sh\n${script}\n` });
  chmodSync(`${cwd}/bin/pulumi`, 0o755);
  const environment = { PATH: [`${cwd}/bin`, process.env.PATH].join(delimiter) };
  return new Pulumi({ cwd, environment, deadline: 60_000, signal: new AbortController().signal, ...over });
}

describe("a call of pulumi", () => {
  it("says what to install when there is none", async () => {
    const cwd = temporaryFolder();
    const signal = new AbortController().signal;
    const pulumi = new Pulumi({ cwd, environment: { PATH: cwd }, deadline: 60_000, signal });

    await expect(pulumi.exportState(undefined)).rejects.toThrow("https://get.pulumi.com");
  });

  it("fails with what pulumi printed", async () => {
    const failing = scripted("echo 'error: no stack named prod found' >&2; exit 6").exportState("prod");

    await expect(failing).rejects.toThrow(PulumiFailedError);
    await expect(failing).rejects.toThrow("pulumi stack export --stack prod ended with exit code 6:\nerror: no stack");
  });

  it("is ended at its deadline, with what it printed until then", async () => {
    const late = scripted("echo 'waiting for the backend' >&2; exec sleep 1000", { deadline: 300 }).exportState("dev");

    await expect(late).rejects.toThrow(DeadlineError);
    await expect(late).rejects.toThrow("pulumi stack export --stack dev did not end within 300ms");
  });

  it("ends with an interruption", async () => {
    const abort = new AbortController();
    const call = scripted("exec sleep 1000", { signal: abort.signal }).exportState("dev");
    abort.abort(new InterruptedError("interrupted by SIGINT"));

    await expect(call).rejects.toThrow(InterruptedError);
  });

  it("hands the state over unchanged, however large it is", async () => {
    const folder = temporaryFolder();
    const state = JSON.stringify({ text: "é".repeat(1_000_000) });
    const pulumi = scripted(`cat > ${folder}/imported; echo "$@" > ${folder}/arguments`);

    await pulumi.importState("dev", state);

    expect(readFileSync(`${folder}/imported`, "utf8") === state).toBe(true);
    expect(readFileSync(`${folder}/arguments`, "utf8")).toBe("stack import --force --stack dev --non-interactive\n");
  });

  it("names a stack without organisation and project", async () => {
    expect(await scripted("echo acme/studio/dev").stackName(undefined)).toBe("dev");
  });
});
