import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseStartupLog, saysPortInUse } from "../../runtime/health";

const preamble = [
  "Checkpoint files will always be loaded safely.",
  "Total VRAM 24106 MB, total RAM 24106 MB",
  "pytorch version: 2.11.0+cu130",
  "Set vram state to: DISABLED",
  "Device: cpu",
  "Python version: 3.11.7 (main, May  9 2026, 07:35:25) [GCC 12.2.0]",
  "ComfyUI version: 0.3.64",
];
const beforePlugins = [
  "ComfyUI frontend version: 1.27.10",
  "[Prompt Server] web root: /srv/venv/lib/python3.11/site-packages/comfyui_frontend_package/static",
];
const traceback = [
  "Traceback (most recent call last):",
  '  File "/srv/ComfyUI/nodes.py", line 2131, in load_custom_node',
  "    module_spec.loader.exec_module(module)",
  '  File "/srv/ComfyUI/custom_nodes/broken/__init__.py", line 1, in <module>',
  "    import a_module_that_is_missing",
  "ModuleNotFoundError: No module named 'a_module_that_is_missing'",
];
const missingModule = [
  ...traceback,
  "",
  "Cannot import /srv/ComfyUI/custom_nodes/broken module for custom nodes: No module named 'a_module_that_is_missing'",
];
const table = [
  "",
  "Import times for custom nodes:",
  "   0.0 seconds: /srv/ComfyUI/custom_nodes/good",
  "   0.1 seconds (IMPORT FAILED): /srv/ComfyUI/custom_nodes/broken",
  "  13.2 seconds: /srv/ComfyUI/custom_nodes/single file.py",
  "",
];
const listening = ["Starting server", "", "To see the GUI go to: http://127.0.0.1:8188", ""];
const text = (...parts: readonly (readonly string[])[]) => parts.flat().join("\n");

/** What ComfyUI prints when its log has two handlers: each message first with level and logger in front. */
const twice = (...messages: readonly (readonly string[])[]) =>
  messages.map((lines) => `INFO:root:${lines.join("\n")}\n${lines.join("\n")}\n`).join("");

describe("the log of a start", () => {
  it("says of each plugin whether it loaded and how long that took", () => {
    const report = parseStartupLog(text(preamble, beforePlugins, missingModule, table, listening));

    expect(report.plugins).toEqual([
      { name: "good", path: "/srv/ComfyUI/custom_nodes/good", failed: false, seconds: 0 },
      { name: "broken", path: "/srv/ComfyUI/custom_nodes/broken", failed: true, seconds: 0.1 },
      { name: "single file.py", path: "/srv/ComfyUI/custom_nodes/single file.py", failed: false, seconds: 13.2 },
    ]);
    expect(report.lastLine).toBe("To see the GUI go to: http://127.0.0.1:8188");
  });

  it("gives a failed plugin's reason with its traceback, and no traceback to the process", () => {
    const report = parseStartupLog(text(preamble, beforePlugins, missingModule, table, listening));

    expect(report.failures.get("broken")).toEqual({
      message: "No module named 'a_module_that_is_missing'",
      traceback: traceback.join("\n"),
    });
    expect(report.traceback).toBeNull();
  });

  it("keeps a chained traceback together", () => {
    const chained = [
      ...["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "KeyError: 'a'"],
      ...["", "During handling of the above exception, another exception occurred:", "", ...traceback],
    ];
    const report = parseStartupLog(text(beforePlugins, chained, missingModule.slice(traceback.length), table));

    expect(report.failures.get("broken")?.traceback).toBe(chained.join("\n"));
  });

  it("does not give a plugin the traceback of another", () => {
    const second = "Cannot import /srv/ComfyUI/custom_nodes/second module for custom nodes: no reason was printed";
    const report = parseStartupLog(text(beforePlugins, missingModule, [second], table));

    expect(report.failures.get("second")).toEqual({ message: "no reason was printed", traceback: null });
  });

  it.each([
    [
      "Skip /srv/ComfyUI/custom_nodes/p module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).",
      "the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).",
    ],
    ["Error while calling comfy_entrypoint in /srv/ComfyUI/custom_nodes/p: as asked", "as asked"],
    [
      "Cannot import /srv/ComfyUI/custom_nodes/p module for custom nodes: invalid syntax (__init__.py, line 1)",
      "invalid syntax (__init__.py, line 1)",
    ],
    ["Cannot import /srv/my nodes/custom_nodes/p module for custom nodes: a: b", "a: b"],
  ])("knows the form %j", (line, message) => {
    expect(parseStartupLog(line).failures.get("p")).toEqual({ message, traceback: null });
  });

  it("tells ComfyUI's own files that failed from plugins", () => {
    const own = [
      ...[
        "WARNING: some comfy_extras/ nodes did not import correctly. This may be because they are missing some dependencies.",
        "",
      ],
      ...["IMPORT FAILED: nodes_audio.py", "IMPORT FAILED: nodes_audio_encoder.py", ""],
    ];
    const report = parseStartupLog(text(preamble, beforePlugins, table, own, listening));

    expect(report.coreFailures).toEqual(["nodes_audio.py", "nodes_audio_encoder.py"]);
    expect(report.plugins.filter(({ failed }) => failed).map(({ name }) => name)).toEqual(["broken"]);
  });

  it("tells a prestartup script that failed from an import that did", () => {
    const report = parseStartupLog(
      text(
        ["Failed to execute startup-script: /srv/ComfyUI/custom_nodes/early/prestartup_script.py / as asked"],
        ["", "Prestartup times for custom nodes:", "   0.0 seconds: /srv/ComfyUI/custom_nodes/good"],
        ["   0.0 seconds (PRESTARTUP FAILED): /srv/ComfyUI/custom_nodes/early", ""],
        preamble,
        beforePlugins,
        ["", "Import times for custom nodes:", "   0.0 seconds: /srv/ComfyUI/custom_nodes/early", ""],
      ),
    );

    expect(report.prestartupFailed).toEqual(["early"]);
    expect(report.plugins).toMatchObject([{ name: "early", failed: false }]);
  });

  it("says which plugins were left out", () => {
    const skipped = "Skipping my plugin due to disable_all_custom_nodes and whitelist_custom_nodes";

    expect(parseStartupLog(skipped).skipped).toEqual(new Set(["my plugin"]));
    expect(parseStartupLog("Skipping loading of custom nodes\n").skipped).toBe("all");
    expect(parseStartupLog("").skipped).toEqual(new Set());
  });

  it("says the same when every message is printed twice", () => {
    const once = parseStartupLog(text(preamble, beforePlugins, missingModule, table, listening));
    const doubled = parseStartupLog(
      twice(
        ...[...preamble, ...beforePlugins].map((line) => [line]),
        [...traceback, ""],
        missingModule.slice(-1),
        ["", "Import times for custom nodes:"],
        ...table.slice(2, -1).map((line) => [line]),
        [""],
      ),
    );

    expect(doubled.plugins).toEqual(once.plugins);
    expect(doubled.failures).toEqual(once.failures);
    expect(doubled.importing).toBe(true);
  });

  it("tells loading ComfyUI from importing plugins", () => {
    expect(parseStartupLog(text(preamble)).importing).toBe(false);
    expect(parseStartupLog(text(preamble, beforePlugins)).importing).toBe(true);
  });

  it("gives the traceback that ended the process", () => {
    const fatal = [
      ...[
        "Traceback (most recent call last):",
        '  File "/srv/ComfyUI/main.py", line 150, in <module>',
        "    import server",
      ],
      "ModuleNotFoundError: No module named 'requests'",
    ];

    expect(parseStartupLog(text(preamble, fatal)).traceback).toBe(fatal.join("\n"));
    expect(parseStartupLog(text(preamble, fatal, ["", "more"])).traceback).toBe(fatal.join("\n"));
  });

  it("tells a port that was taken, which is noticed after all imports", () => {
    const taken =
      "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8188): address already in use";
    const log = text(preamble, beforePlugins, table, [
      "Starting server",
      "",
      "Traceback (most recent call last):",
      taken,
    ]);

    expect(saysPortInUse(log)).toBe(true);
    expect(parseStartupLog(log).traceback).toContain(taken);
    expect(saysPortInUse(text(preamble, beforePlugins, table, listening))).toBe(false);
  });

  it("is read the same whatever its line ends, and however little of it is there", () => {
    const log = text(preamble, beforePlugins, missingModule, table, listening);
    expect(parseStartupLog(log.replaceAll("\n", "\r\n"))).toEqual(parseStartupLog(log));

    fc.assert(
      fc.property(fc.nat(log.length), (length) => {
        const { plugins, failures } = parseStartupLog(log.slice(0, length));
        expect(plugins.length).toBeLessThanOrEqual(3);
        expect([...failures.keys()].every((name) => name === "broken")).toBe(true);
      }),
    );
  });

  it("finds every plugin of a table, whatever the names", () => {
    const name = fc.stringMatching(/^[A-Za-z0-9._-][A-Za-z0-9._ -]{0,20}[A-Za-z0-9._-]$/);
    const row = fc.record({ name, failed: fc.boolean(), tenths: fc.nat(9999) });
    fc.assert(
      fc.property(fc.uniqueArray(row, { selector: (one) => one.name }), (rows) => {
        const lines = rows.map(({ name: of, failed, tenths }) => {
          const seconds = (tenths / 10).toFixed(1).padStart(6);
          return `${seconds} seconds${failed ? " (IMPORT FAILED)" : ""}: /srv/custom_nodes/${of}`;
        });
        const { plugins } = parseStartupLog(
          text(preamble, beforePlugins, ["", "Import times for custom nodes:"], lines, [""]),
        );

        expect(plugins.map((plugin) => [plugin.name, plugin.failed])).toEqual(
          rows.map((one) => [one.name, one.failed]),
        );
      }),
    );
  });
});
