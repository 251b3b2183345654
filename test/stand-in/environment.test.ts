import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeEnvironment } from "../../examples/local/environment";
import { waitFor } from "../../runtime/waiting";
import { finished, openSocket, request, submit } from "../support/comfyui-client";
import { historyEntry, savedImage } from "../support/comfyui-contract";
import { startStandIn } from "../support/stand-in";

const example = join(__dirname, "../../examples/local");
const smoke = JSON.parse(readFileSync(join(example, "smoke.json"), "utf8"));

let parent: string;
let environment: string;
let said = "";

/** Makes the environment in a process of its own, which can be killed. */
function making(program: string): ChildProcess {
  return spawn(process.execPath, [program, environment], { stdio: ["ignore", "pipe", "inherit"] });
}

const drafts = () => readdirSync(join(parent, "deep")).filter((name) => name.startsWith(".studio-making-"));
const exitOf = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once("exit", resolve));

// One that is killed halfway, then two at once: what is left is the environment of all tests here.
beforeAll(async () => {
  parent = mkdtempSync(join(tmpdir(), "environment-"));
  environment = join(parent, "deep", "studio");
  mkdirSync(join(parent, "deep"));
  const program = join(parent, "make.cjs");
  buildSync({
    stdin: {
      contents: `require("./environment").makeEnvironment(process.argv[2], (line) => console.log(line));`,
      resolveDir: example,
    },
    bundle: true,
    platform: "node",
    outfile: program,
    define: { __dirname: JSON.stringify(example) },
  });

  const killed = making(program);
  await waitFor({
    what: "a virtual environment in the making",
    deadline: 60_000,
    look: () => drafts().some((draft) => existsSync(join(parent, "deep", draft, "venv"))) || undefined,
  });
  const ended = exitOf(killed);
  killed.kill("SIGKILL");
  await ended;
  expect(existsSync(environment)).toBe(false);

  const both = [making(program), making(program)];
  both[0]?.stdout?.on("data", (text) => {
    said += text;
  });
  expect(await Promise.all(both.map(exitOf))).toEqual([0, 0]);
}, 300_000);
afterAll(() => rmSync(parent, { recursive: true, force: true }));

const start = () =>
  startStandIn({
    base: join(environment, "ComfyUI"),
    source: join(environment, "ComfyUI"),
    python: join(environment, "venv", "bin", "python"),
  });

describe("the example's environment", () => {
  it("has ComfyUI's layout, without byte code, and leaves nothing beside it", () => {
    expect(readdirSync(environment).sort()).toEqual([".cache", "ComfyUI", "venv"]);
    expect(readdirSync(join(environment, "ComfyUI", "custom_nodes")).sort()).toEqual(["caption", "gradient"]);
    expect(existsSync(join(environment, "ComfyUI", "main.py"))).toBe(true);
    const copied = readdirSync(join(environment, "ComfyUI"), { recursive: true, encoding: "utf8" });
    expect(copied.filter((path) => path.includes("__pycache__"))).toEqual([]);
    expect(existsSync(join(environment, "venv", "bin", "python"))).toBe(true);
    expect(said).toContain(`making a ComfyUI environment in ${environment}\n`);
  });

  it("has a virtual environment whose scripts name the place where it is", () => {
    const pip = spawnSync(join(environment, "venv", "bin", "pip"), ["--version"], { encoding: "utf8" });

    expect(pip.stdout).toContain(join(environment, "venv", "lib"));
    expect(readFileSync(join(environment, "venv", "bin", "activate"), "utf8")).not.toContain("-making-");
    expect(readFileSync(join(environment, "venv", "pyvenv.cfg"), "utf8")).not.toContain("-making-");
  });

  it("draws a picture with the smoke workflow, through both plugins", async () => {
    await using server = await start();
    const entry = historyEntry.parse(await finished(server.url, await submit(server.url, smoke)));

    expect(entry.status.status_str).toBe("success");
    const [image] = savedImage.array().parse(entry.outputs["3"]?.images);
    const picture = await request(server.url, "GET", `/view?filename=${image?.filename}`);
    expect([picture.status, picture.type]).toEqual([200, "image/png"]);
    expect(picture.text.slice(1, 4)).toBe("PNG");
    const info = (await request(server.url, "GET", "/object_info")).json as Record<string, { python_module: string }>;
    expect(info.GradientImage?.python_module).toBe("custom_nodes.gradient");
    expect(info.CaptionImage?.python_module).toBe("custom_nodes.caption");
    // With Pillow there, a preview is what it says.
    const preview = await request(server.url, "GET", `/view?filename=${image?.filename}&preview=webp;50`);
    expect(preview.type).toBe("image/webp");
    await server.stop("SIGINT");
    rmSync(join(environment, "ComfyUI", "output"), { recursive: true });
  });

  it("reports the progress of slow work, and can be interrupted in it", async () => {
    await using server = await start();
    const socket = await openSocket(server.url, "client");
    const slow = { ...smoke, "1": { ...smoke["1"], inputs: { ...smoke["1"].inputs, seconds: 600 } } };
    const promptId = await submit(server.url, slow, { client_id: "client" });
    await socket.until("progress of the gradient", ({ type, data }) => type === "progress" && data.node === "1");

    await request(server.url, "POST", "/interrupt", { prompt_id: promptId });
    const entry = historyEntry.parse(await finished(server.url, promptId));
    expect(entry.status.messages.at(-1)?.[0]).toBe("execution_interrupted");
  });

  it("is made once when two make it at the same time, and what a killed one left is removed", () => {
    // What the killed one had started may have written on for a while; the next call removes that.
    makeEnvironment(environment, () => {});

    expect(readdirSync(join(parent, "deep"))).toEqual(["studio"]);
  });

  it("is left as it is when it is there", () => {
    const mine = join(environment, "ComfyUI", "custom_nodes", "gradient", "mine.txt");
    writeFileSync(mine, "edited by hand");
    const more: string[] = [];

    makeEnvironment(environment, (line) => more.push(line));

    expect(more).toEqual([]);
    expect(readFileSync(mine, "utf8")).toBe("edited by hand");
  });

  it("cannot be made without a Python that makes virtual environments, and says what to install", () => {
    const bin = join(parent, "bin");
    mkdirSync(bin);
    const path = process.env.PATH;
    const elsewhere = join(parent, "elsewhere");
    try {
      process.env.PATH = bin;
      expect(() => makeEnvironment(elsewhere, () => {})).toThrow(
        /python3 cannot be started .*apt-get install python3/s,
      );
      writeFileSync(join(bin, "python3"), "#!/bin/sh\necho \"No module named 'ensurepip'\" >&2\nexit 1\n", {
        mode: 0o755,
      });
      expect(() => makeEnvironment(elsewhere, () => {})).toThrow(/No module named 'ensurepip'.*python3-venv/s);
      writeFileSync(join(bin, "python3"), "#!/bin/sh\necho 3 8\n", { mode: 0o755 });
      expect(() => makeEnvironment(elsewhere, () => {})).toThrow(/python3 is Python 3\.8, and the example needs 3\.9/);
    } finally {
      process.env.PATH = path;
    }
    expect(existsSync(elsewhere)).toBe(false);
  });
});
