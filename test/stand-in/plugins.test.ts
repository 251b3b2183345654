import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { z } from "zod";
import { finished, request, submit } from "../support/comfyui-client";
import { classInfo, logForms } from "../support/comfyui-contract";
import { addPlugin, type PluginSource, type StandIn, spawnStandIn, startStandIn } from "../support/stand-in";
import { brokenPlugin, pluginWithClass, webOnlyPlugin, workingPlugin } from "../support/stand-in-plugins";

const v3 = (body: string) => `
from comfy_api.latest import ComfyExtension, io


class EdgeV3(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EdgeV3",
            category="test",
            inputs=[io.Int.Input("value")],
            outputs=[io.Int.Output()],
            is_output_node=True,
        )

    @classmethod
    async def execute(cls, value):
        return io.NodeOutput(value * 2, ui={"value": [value * 2], "nodes": [len(cls.hidden.prompt)]})


class Extension(ComfyExtension):
    async def get_node_list(self):
        return [EdgeV3]


async def comfy_entrypoint():
${body}
`;

const addsRoute = `
from server import PromptServer

NODE_CLASS_MAPPINGS = {}


@PromptServer.instance.routes.get("/test/hello")
async def hello(request):
    return {"hello": request.query.get("name", "")}
`;

const plugins: Readonly<Record<string, PluginSource>> = {
  a_good: pluginWithClass("EdgeGood"),
  b_same_class: pluginWithClass("EdgeGood"),
  "dotted.name-1.0": pluginWithClass("EdgeDotted"),
  "single_file.py": pluginWithClass("EdgeSingle"),
  v3_plugin: v3("    return Extension()"),
  v3_fails: v3('    raise RuntimeError("entrypoint as asked")'),
  web_only: webOnlyPlugin,
  adds_route: addsRoute,
  shadows_core: pluginWithClass("EmptyImage"),
  half_fails: "try:\n    import a_module_that_is_missing\nexcept ImportError:\n    NODE_CLASS_MAPPINGS = {}\n",
  bad_input_types: pluginWithClass("EdgeBadInputs").replace(
    'return {"required": {"value": ("INT", {})}}',
    'raise RuntimeError("INPUT_TYPES as asked")',
  ),
  no_mappings: "pass\n",
  mappings_none: "NODE_CLASS_MAPPINGS = None\n",
  web_no_mappings: { "__init__.py": 'WEB_DIRECTORY = "./js"\n', "js/a.js": "" },
  syntax_error: "def f(:\n    pass\n",
  missing_module: brokenPlugin,
  no_init: { "nodes.py": "" },
  ".hidden": { "anything.txt": "" },
  "off.disabled": brokenPlugin,
  "notes.txt": { "": "no plugin" },
  prestartup_good: { "__init__.py": pluginWithClass("EdgePrestartupGood"), "prestartup_script.py": "" },
  prestartup_fails: {
    "__init__.py": pluginWithClass("EdgePrestartup"),
    "prestartup_script.py": 'raise RuntimeError("prestartup as asked")\n',
  },
};

const failing = [
  ...["v3_fails", "no_mappings", "mappings_none", "web_no_mappings", "syntax_error", "missing_module"],
  ...["no_init", ".hidden", "dangling"],
];

describe("plugins of every sort", () => {
  let base: string;
  let server: StandIn;
  let log: string;

  beforeAll(async () => {
    base = mkdtempSync(join(tmpdir(), "stand-in-plugins-"));
    const folder = join(base, "custom_nodes");
    mkdirSync(folder);
    for (const [name, source] of Object.entries(plugins)) addPlugin(base, name, source);
    mkdirSync(join(base, "elsewhere"));
    writeFileSync(join(base, "elsewhere", "__init__.py"), pluginWithClass("EdgeLinked"));
    symlinkSync(join(base, "elsewhere"), join(folder, "linked"));
    symlinkSync(join(base, "nowhere"), join(folder, "dangling"));
    addPlugin(base, "pyproject_web", {
      "__init__.py": "NODE_CLASS_MAPPINGS = {}\n",
      "pyproject.toml": '[project]\nname = "web-name"\n\n[tool.comfy]\nweb = "dist"\n',
      "dist/b.js": "",
    });
    server = await startStandIn({ base });
    log = server.readLog();
  });
  afterAll(async () => {
    await server.stop();
    rmSync(base, { recursive: true, force: true });
  });

  const get = (path: string) => request(server.url, "GET", path);
  const modules = async () => {
    const info = (await get("/object_info")).json as Record<string, z.infer<typeof classInfo>>;
    return Object.fromEntries(Object.entries(info).map(([name, { python_module }]) => [name, python_module]));
  };

  it("are in the table of imports, each once, with those that failed marked", () => {
    const table = logForms.importTable.exec(log)?.[0] ?? "";
    const rows = [...table.matchAll(/seconds( \(IMPORT FAILED\))?: .*\/custom_nodes\/(.+)$/gm)];

    const names = [...Object.keys(plugins), "linked", "dangling", "pyproject_web"];
    const passedOver = ["off.disabled", "notes.txt"];
    expect(rows.map(([, , name]) => name).sort()).toEqual(names.filter((name) => !passedOver.includes(name)).sort());
    expect(rows.flatMap(([, failed, name]) => (failed ? [name] : [])).sort()).toEqual(failing.sort());
  });

  it("that failed are explained before the table", () => {
    for (const form of [logForms.cannotImport, logForms.noMappings, logForms.entrypointFailed])
      expect(log).toMatch(form);
    expect(log).toContain(
      `Cannot import ${base}/custom_nodes/missing_module module for custom nodes: No module named 'a_module_that_is_missing'\n`,
    );
    expect(log).toContain(
      `Error while calling comfy_entrypoint in ${base}/custom_nodes/v3_fails: entrypoint as asked\n`,
    );
  });

  it("have their prestartup scripts run before all else, in a table of its own", () => {
    expect(log).toMatch(logForms.prestartupFailed);
    expect(log).toMatch(logForms.prestartupTable);
    expect(log.search(logForms.prestartupTable)).toBeLessThan(log.search(logForms.pythonVersion));
    expect(log).toMatch(/\(PRESTARTUP FAILED\): .*\/prestartup_fails$/m);
  });

  it("bring classes under their folder's name", async () => {
    const { EdgeGood, ...found } = await modules();
    expect(found).toMatchObject({
      EdgeDotted: "custom_nodes.dotted.name-1.0",
      EdgeSingle: "custom_nodes.single_file",
      EdgeV3: "custom_nodes.v3_plugin",
      EdgeLinked: "custom_nodes.linked",
      EdgePrestartup: "custom_nodes.prestartup_fails",
      EmptyImage: "nodes",
    });
    // Which of the two has it depends on the folder's order.
    expect(["custom_nodes.a_good", "custom_nodes.b_same_class"]).toContain(EdgeGood);
  });

  it("are missing with the class that cannot describe itself, which is an error where it is asked for", async () => {
    expect(await modules()).not.toHaveProperty("EdgeBadInputs");
    expect((await get("/object_info/EdgeBadInputs")).status).toBe(500);
    const prompt = { "1": { class_type: "EdgeBadInputs", inputs: { value: 1 } } };
    const refused = await request(server.url, "POST", "/prompt", { prompt });
    expect(refused.status).toBe(400);
    expect(refused.text).toContain("Exception when validating node: INPUT_TYPES as asked");
  });

  it("of the newer sort are described with all their fields, and run", async () => {
    const { EdgeV3 } = (await get("/object_info/EdgeV3")).json as Record<string, unknown>;

    expect(classInfo.parse(EdgeV3)).toEqual({
      input: {
        required: { value: ["INT", {}] },
        hidden: { prompt: ["PROMPT"], extra_pnginfo: ["EXTRA_PNGINFO"] },
      },
      input_order: { required: ["value"], hidden: ["prompt", "extra_pnginfo"] },
      output: ["INT"],
      output_is_list: [false],
      output_name: ["INT"],
      output_tooltips: [null],
      name: "EdgeV3",
      display_name: "EdgeV3",
      description: "",
      python_module: "custom_nodes.v3_plugin",
      category: "test",
      output_node: true,
      deprecated: false,
      experimental: false,
      api_node: false,
    });
    const promptId = await submit(server.url, { "1": { class_type: "EdgeV3", inputs: { value: 21 } } });
    expect((await finished(server.url, promptId)).outputs).toEqual({ "1": { value: [42], nodes: [1] } });
  });

  it("add routes, which exist under /api too, and web folders under their own or their project's name", async () => {
    expect((await get("/test/hello?name=you")).json).toEqual({ hello: "you" });
    expect((await get("/api/test/hello")).json).toEqual({ hello: "" });
    expect(((await get("/extensions")).json as string[]).sort()).toEqual([
      "/extensions/web-name/b.js",
      "/extensions/web_no_mappings/a.js",
      "/extensions/web_only/web_only.js",
    ]);
  });

  it("that come while it runs are not seen; new model files are", async () => {
    addPlugin(base, "late", pluginWithClass("EdgeLate"));
    mkdirSync(join(base, "models", "checkpoints"), { recursive: true });
    writeFileSync(join(base, "models", "checkpoints", "late.safetensors"), "");

    expect(await modules()).not.toHaveProperty("EdgeLate");
    expect((await get("/models/checkpoints")).json).toEqual(["late.safetensors"]);
    expect((await get("/object_info/CheckpointLoaderSimple")).text).toContain("late.safetensors");
    rmSync(join(base, "custom_nodes", "late"), { recursive: true });
  });
});

describe("choosing plugins", () => {
  const two = { working: workingPlugin, other: pluginWithClass("Other") };

  it("imports none when all are disabled, and prints no table", async () => {
    await using server = await startStandIn({ plugins: two, arguments: ["--disable-all-custom-nodes"] });

    expect(server.readLog()).toMatch(logForms.skippedAll);
    expect(server.readLog()).not.toContain("Import times");
  });

  it("imports those on the list, and says of the others that it skips them", async () => {
    const chosen = ["--disable-all-custom-nodes", "--whitelist-custom-nodes", "working"];
    await using server = await startStandIn({ plugins: two, arguments: chosen });

    const log = server.readLog();
    expect(log).toMatch(logForms.skipped);
    expect(logForms.importTable.exec(log)?.[0].trim().split("\n")).toHaveLength(2);
  });

  it("prints no table when there are none", async () => {
    await using server = await startStandIn();

    expect(server.readLog()).not.toContain("Import times");
    expect(server.readLog()).toMatch(logForms.listening);
  });
});

describe("a plugin that ends the process", () => {
  it("gives the process its exit code", async () => {
    await using server = spawnStandIn({ plugins: { exits: "import sys\n\nsys.exit(3)\n" } });

    expect(await server.exited).toEqual({ code: 3, signal: null });
    expect(server.readLog()).toMatch(logForms.beforePlugins);
    expect(server.readLog()).not.toContain("custom_nodes/exits");
  });

  it("with a crash gives it the signal", async () => {
    await using server = spawnStandIn({
      plugins: { crashes: "import os\nimport signal\n\nos.kill(os.getpid(), signal.SIGSEGV)\n" },
    });

    expect(await server.exited).toEqual({ code: null, signal: "SIGSEGV" });
  });
});
