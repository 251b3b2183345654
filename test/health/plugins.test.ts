import { describe, expect, it } from "vitest";
import { type ExpectedPlugin, judgePlugins, observePlugins, parseStartupLog } from "../../runtime/health";
import { startStandIn } from "../support/stand-in";
import { brokenPlugin, pluginWithClass, webOnlyPlugin, workingPlugin } from "../support/stand-in-plugins";

const log = (...rows: readonly string[]) =>
  ["Import times for custom nodes:", ...rows.map((row) => row.replace(": ", ": /srv/custom_nodes/")), ""].join("\n");
const loaded = (name: string) => `   0.0 seconds: ${name}`;
const failed = (name: string) => `   0.0 seconds (IMPORT FAILED): ${name}`;

const recorded = (name: string, state: "loaded" | "failed", classes: readonly string[] = []): ExpectedPlugin => ({
  name,
  contentHash: "same",
  baseline: { name, contentHash: "same", state, classes },
});
const unrecorded = (name: string): ExpectedPlugin => ({ name, contentHash: "new", baseline: null });
const changed = (name: string, state: "loaded" | "failed", classes: readonly string[] = []): ExpectedPlugin => ({
  ...recorded(name, state, classes),
  contentHash: "changed",
});

interface Case {
  readonly expected: ExpectedPlugin;
  readonly rows?: readonly string[];
  readonly classes?: Readonly<Record<string, string>>;
  readonly accept?: readonly string[];
}

const judge = ({ expected, rows = [], classes = {}, accept = [] }: Case) =>
  judgePlugins([expected], accept, parseStartupLog(log(...rows)), new Map(Object.entries(classes)));

describe("a plugin", () => {
  it.each<[string, Case]>([
    ["is new and loads", { expected: unrecorded("p"), rows: [loaded("p")] }],
    [
      "loads as it did",
      { expected: recorded("p", "loaded", ["A"]), rows: [loaded("p")], classes: { A: "custom_nodes.p" } },
    ],
    ["brought no class and brings none", { expected: recorded("p", "loaded"), rows: [loaded("p")] }],
    ["failed before and fails", { expected: recorded("p", "failed"), rows: [failed("p")] }],
    ["failed before and loads", { expected: recorded("p", "failed"), rows: [loaded("p")] }],
    ["fails, which is accepted", { expected: unrecorded("p"), rows: [failed("p")], accept: ["p"] }],
    ["changed and brings other classes", { expected: changed("p", "loaded", ["Old"]), rows: [loaded("p")] }],
    ["is switched off by its name", { expected: unrecorded("p.disabled") }],
    [
      "has its class brought by a plugin of the same class that was imported later",
      { expected: recorded("p", "loaded", ["A"]), rows: [loaded("p"), loaded("q")], classes: { A: "custom_nodes.q" } },
    ],
  ])("that %s is no fault", (_what, given) => {
    expect(judge(given)).toEqual([]);
  });

  it.each<[string, Case, RegExp]>([
    ["is new and fails", { expected: unrecorded("p"), rows: [failed("p")] }, /its import failed/],
    ["loaded before and fails", { expected: recorded("p", "loaded"), rows: [failed("p")] }, /its import failed/],
    [
      "failed before, changed and fails",
      { expected: changed("p", "failed"), rows: [failed("p")] },
      /its import failed/,
    ],
    ["is not imported at all", { expected: unrecorded("p"), rows: [loaded("q")] }, /did not import it/],
    [
      "loads without a class that it brought",
      { expected: recorded("p", "loaded", ["A", "B"]), rows: [loaded("p")], classes: { B: "custom_nodes.p" } },
      /without its node classes A$/,
    ],
    [
      "fails while another failure is accepted",
      { expected: unrecorded("p"), rows: [failed("p")], accept: ["q"] },
      /its import failed/,
    ],
  ])("that %s is a fault", (_what, given, reason) => {
    expect(judge(given)).toMatchObject([{ name: "p", reason: expect.stringMatching(reason), traceback: null }]);
  });

  it("whose content is not known must load, whatever its record says", () => {
    const unknown = { ...recorded("p", "failed"), contentHash: null };
    const neither = {
      name: "p",
      contentHash: null,
      baseline: { name: "p", contentHash: null, state: "failed" as const, classes: [] },
    };

    for (const expected of [unknown, neither]) expect(judge({ expected, rows: [failed("p")] })).toHaveLength(1);
  });

  it("is not missed when command-line arguments leave it out", () => {
    const report = parseStartupLog("Skipping p due to disable_all_custom_nodes and whitelist_custom_nodes\n");
    expect(judgePlugins([unrecorded("p"), unrecorded("q")], [], report, new Map())).toMatchObject([{ name: "q" }]);
    const all = parseStartupLog("Skipping loading of custom nodes\n");
    expect(judgePlugins([unrecorded("p"), unrecorded("q")], [], all, new Map())).toEqual([]);
  });
});

describe("a running server's plugins", () => {
  it("are recorded with state, classes and content hash, sorted by name", async () => {
    await using server = await startStandIn({
      plugins: {
        working: workingPlugin,
        broken: brokenPlugin,
        web_only: webOnlyPlugin,
        "single.py": pluginWithClass("Single"),
      },
    });
    const records = await observePlugins({
      url: server.url,
      log: server.readLog(),
      contentHashes: { working: "w", broken: "b" },
      signal: AbortSignal.timeout(30_000),
    });

    expect(records).toEqual([
      { name: "broken", contentHash: "b", state: "failed", classes: [] },
      { name: "single.py", contentHash: null, state: "loaded", classes: ["Single"] },
      { name: "web_only", contentHash: null, state: "loaded", classes: [] },
      {
        name: "working",
        contentHash: "w",
        state: "loaded",
        classes: ["TestAddOne", "TestFail", "TestSlow", "TestWait"],
      },
    ]);
  });

  it("are not recorded when the server does not answer", async () => {
    const observed = observePlugins({
      url: "http://127.0.0.1:1",
      log: log(loaded("p")),
      contentHashes: {},
      signal: AbortSignal.timeout(30_000),
    });

    await expect(observed).rejects.toThrow();
  });
});
