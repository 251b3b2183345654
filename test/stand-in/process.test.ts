import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { finished, openSocket, request, running, submit } from "../support/comfyui-client";
import { answers, logForms } from "../support/comfyui-contract";
import { spawnStandIn, startStandIn } from "../support/stand-in";
import { workingPlugin } from "../support/stand-in-plugins";

let base: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "stand-in-process-"));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const preview = {
  "1": { class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 1, color: 0 } },
  "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
};
const slow = { "1": { class_type: "TestSlow", inputs: { seconds: 600, mode: "progress" } } };
const temp = () => (existsSync(join(base, "temp")) ? readdirSync(join(base, "temp")) : null);

describe("stopping", () => {
  it("by SIGTERM is at once, and leaves the temp folder, which the next start empties", async () => {
    const server = await startStandIn({ base });
    await finished(server.url, await submit(server.url, preview));

    expect(await server.stop("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
    expect(server.readLog()).not.toMatch(logForms.stopped);
    expect(temp()).toHaveLength(1);
    await using next = await startStandIn({ base });
    expect(temp()).toBeNull();
    expect((await request(next.url, "GET", "/history")).json).toEqual({});
  });

  it("by SIGINT removes the temp folder and ends with 0", async () => {
    const server = await startStandIn({ base });
    await finished(server.url, await submit(server.url, preview));

    expect(await server.stop("SIGINT")).toEqual({ code: 0, signal: null });
    expect(server.readLog().endsWith("\nStopped server\n")).toBe(true);
    expect(temp()).toBeNull();
  });

  it("by SIGINT does not wait for the running prompt, and cuts sockets without a close frame", async () => {
    const server = await startStandIn({ base, plugins: { working: workingPlugin } });
    const socket = await openSocket(server.url, "client");
    await running(server.url, await submit(server.url, slow));

    expect(await server.stop("SIGINT")).toEqual({ code: 0, signal: null });
    expect(server.readLog().endsWith("\nStopped server\n")).toBe(true);
    expect(await socket.closed).toBe(1006);
  });

  it("by SIGTERM in the middle of a prompt is at once too", async () => {
    const server = await startStandIn({ base, plugins: { working: workingPlugin } });
    await running(server.url, await submit(server.url, slow));

    expect(await server.stop("SIGTERM")).toEqual({ code: null, signal: "SIGTERM" });
  });
});

describe("a start that cannot work", () => {
  it("because the port is taken ends with 1, after all imports", async () => {
    await using first = await startStandIn();
    await using second = spawnStandIn({ port: first.port, plugins: { working: workingPlugin } });

    expect(await second.exited).toEqual({ code: 1, signal: null });
    expect(second.readLog()).toMatch(logForms.importTable);
    expect(second.readLog()).toMatch(/^OSError: \[Errno 98\] .*address already in use/m);
    expect((await request(first.url, "GET", "/prompt")).status).toBe(200);
  });

  it("because there is no plugins' folder ends with 1", async () => {
    await using server = spawnStandIn({ arguments: ["--base-directory", join(base, "none")] });

    expect(await server.exited).toEqual({ code: 1, signal: null });
    expect(server.readLog()).toMatch(/^FileNotFoundError: .*\/none\/custom_nodes'$/m);
  });

  it.each([["--no-such-argument"], ["--user-directory", "/no/such/folder"]])(
    "because of an argument (%s) ends with 2",
    async (...wrong) => {
      await using server = spawnStandIn({ arguments: wrong });

      expect(await server.exited).toEqual({ code: 2, signal: null });
    },
  );
});

describe("the log", () => {
  it("says in order what it is, that it comes to its plugins, and where it listens", async () => {
    await using server = await startStandIn({ base, plugins: { working: workingPlugin } });
    const log = server.readLog();

    const order = ["pythonVersion", "comfyuiVersion", "beforePlugins", "importTable", "listening"] as const;
    const places = order.map((form) => log.search(logForms[form]));
    expect(places).not.toContain(-1);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  });

  it("has what a plugin prints only later, unless it goes to stdout as a whole", async () => {
    const prints = { loud: 'print("printed by a plugin")\n\nNODE_CLASS_MAPPINGS = {}\n' };
    await using buffered = await startStandIn({ plugins: prints });
    await using direct = await startStandIn({ plugins: prints, arguments: ["--log-stdout"] });

    expect(buffered.readLog()).not.toContain("printed by a plugin");
    expect((await request(buffered.url, "GET", "/internal/logs")).text).toContain("printed by a plugin");
    expect(direct.readLog()).toContain("printed by a plugin");
  });

  it("has every line twice when the input folder cannot be made", async () => {
    symlinkSync(join(base, "nowhere", "else"), join(base, "input"));
    await using server = await startStandIn({ base });

    expect(server.readLog()).toMatch(/^ERROR:root:Failed to create input directory$/m);
    expect(server.readLog()).toMatch(/^INFO:root:Device: cpu\nDevice: cpu$/m);
  });
});

describe("folders of its own", () => {
  it("keep two servers on one base directory apart", async () => {
    const own = (name: string) => {
      for (const kind of ["input", "output", "user"]) mkdirSync(join(base, name, kind), { recursive: true });
      const folders = ["input", "output", "user"].flatMap((kind) => [`--${kind}-directory`, join(base, name, kind)]);
      return [
        ...folders,
        "--temp-directory",
        join(base, name),
        "--database-url",
        `sqlite:///${base}/${name}/user/c.db`,
      ];
    };
    await using a = await startStandIn({ base, arguments: own("a") });
    const entry = await finished(a.url, await submit(a.url, preview));
    const [picture] = readdirSync(join(base, "a", "temp"));
    expect(entry).toMatchObject({ outputs: { "2": { images: [{ filename: picture }] } } });
    await using b = await startStandIn({ base, arguments: own("b") });
    await request(b.url, "POST", "/settings", { "Test.Who": "b" });
    await b.stop("SIGINT");

    expect((await request(a.url, "GET", `/view?filename=${picture}&type=temp`)).status).toBe(200);
    expect((await request(a.url, "GET", "/settings")).json).toEqual({});
    expect(existsSync(join(base, "b", "user", "default", "comfy.settings.json"))).toBe(true);
    expect(existsSync(join(base, "output"))).toBe(false);
  });

  it("are not asked for: a second server on the same temp folder then deletes the first one's previews", async () => {
    await using first = await startStandIn({ base });
    await finished(first.url, await submit(first.url, preview));
    const [picture] = temp() ?? [];
    await using _second = await startStandIn({ base });

    expect((await request(first.url, "GET", `/view?filename=${picture}&type=temp`)).status).toBe(404);
    expect(
      await finished(
        first.url,
        await submit(first.url, {
          ...preview,
          "1": { class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 1, color: 1 } },
        }),
      ),
    ).toMatchObject({ status: { status_str: "success" } });
  });

  it("for models may be elsewhere, as a configuration file says", async () => {
    mkdirSync(join(base, "shared", "ckpt"), { recursive: true });
    writeFileSync(join(base, "shared", "ckpt", "a.safetensors"), "");
    writeFileSync(
      join(base, "paths.yaml"),
      "mine:\n    base_path: shared\n    checkpoints: ckpt\n    clip: |\n        one\n        two\n",
    );
    await using server = await startStandIn({
      base,
      arguments: ["--extra-model-paths-config", join(base, "paths.yaml")],
    });

    expect((await request(server.url, "GET", "/models/checkpoints")).json).toEqual(["a.safetensors"]);
    const paths = answers["/internal/folder_paths"].parse(
      (await request(server.url, "GET", "/internal/folder_paths")).json,
    );
    expect(paths.text_encoders).toEqual(
      [
        ["models", "text_encoders"],
        ["models", "clip"],
        ["shared", "one"],
        ["shared", "two"],
        ["output", "clip"],
      ].map((path) => join(base, ...path)),
    );
    expect(server.readLog()).toContain(`Adding extra search path checkpoints ${join(base, "shared", "ckpt")}\n`);
  });
});
