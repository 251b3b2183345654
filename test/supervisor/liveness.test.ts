import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { inheritedEnvironment } from "../../runtime/supervisor/comfyui-process";
import { untilHung } from "../../runtime/supervisor/liveness";
import { freePort } from "../../runtime/supervisor/ports";
import { computed, findMarked, type RunningProcess, send, startProcess } from "../../runtime/supervisor/processes";
import { until } from "../support/supervisor-platform";

/** Answers every request, until one asks it to compute without end. */
const server = `
const { createServer } = require("node:http");
createServer((request, response) => {
  response.end();
  if (request.url === "/compute") setTimeout(() => { for (;;); }, 50);
}).listen(Number(process.argv[1]), "127.0.0.1");
`;

let folder: string;
let url: string;
let running: RunningProcess;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "liveness-test-"));
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  running = await startProcess({
    command: process.execPath,
    arguments: ["-e", server, String(port)],
    environment: inheritedEnvironment(),
    folder,
    log: join(folder, "log"),
    mark: folder,
  });
  await until("the server to answer", () =>
    fetch(url).then(
      () => true,
      () => false,
    ),
  );
});
afterEach(() => {
  for (const identity of findMarked(folder)) send(identity, "SIGKILL");
  rmSync(folder, { recursive: true });
});

function watch(signal: AbortSignal, more: { excused?: () => boolean } = {}) {
  const { identity } = running;
  return untilHung({
    url,
    identity,
    excused: () => false,
    report: () => undefined,
    signal,
    longestSilence: 300,
    interval: 100,
    ...more,
  });
}

describe("a process that was proven", () => {
  it("is taken as hung when it neither answers nor does anything", async () => {
    send(running.identity, "SIGSTOP");

    const reason = await watch(new AbortController().signal);

    expect(reason).toMatch(/has not answered at .* and neither computed nor read or written anything/);
  });

  it("is not while it computes, however long it does not answer", async () => {
    const over = new AbortController();
    await fetch(`${url}/compute`);
    const hung = watch(over.signal);
    const before = computed(running.identity) ?? 0;

    await until("it to have computed for longer than the longest silence", () => {
      return (computed(running.identity) ?? 0) > before + 1;
    });
    over.abort();

    expect(await hung).toBeNull();
  });

  it("is not while somebody else decides about its end", async () => {
    const over = new AbortController();
    send(running.identity, "SIGSTOP");
    let asked = 0;
    const hung = watch(over.signal, { excused: () => ++asked > 0 });

    // Each look waits for the request that a stopped process takes but does not answer.
    await until("it to have been looked at", () => asked > 1);
    over.abort();

    expect(await hung).toBeNull();
  });
});
