import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { z } from "zod";
import { finished, request, submit } from "../support/comfyui-client";
import { answers, classInfo, endpoints, logForms, origins } from "../support/comfyui-contract";
import { type StandIn, startStandIn } from "../support/stand-in";
import { webOnlyPlugin, workingPlugin } from "../support/stand-in-plugins";

let server: StandIn;

beforeAll(async () => {
  server = await startStandIn({ plugins: { working: workingPlugin, web_only: webOnlyPlugin } });
});
afterAll(() => server.stop());

const get = (path: string) => request(server.url, "GET", path);
const post = (path: string, body?: unknown) => request(server.url, "POST", path, body);

describe("an idle server", () => {
  it.each(endpoints)("answers %s %s with %i and %s", async (method, path, status, type) => {
    const answer = await request(server.url, method, path);

    expect([answer.status, answer.type]).toEqual([status, type]);
  });

  it.each(Object.entries<z.ZodType>(answers))("answers %s in the form of the contract", async (path, form) => {
    form.parse((await get(path)).json);
  });

  it("answers an unknown prompt's history and an unknown class with an empty object", async () => {
    expect((await get("/history/none")).json).toEqual({});
    expect((await get("/object_info/NoSuchClass")).json).toEqual({});
  });

  it("says `queue_remaining` in 37 bytes", async () => {
    expect((await get("/prompt")).text).toBe('{"exec_info": {"queue_remaining": 0}}');
  });
});

describe("the check of origins", () => {
  it.each(origins)("answers %j with %i", async (headers, status) => {
    const sent = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, value.replace("{port}", String(server.port))]),
    );
    // Not fetch: it does not let a caller set Host.
    const answered = await new Promise<number | undefined>((resolve, reject) => {
      httpRequest(`${server.url}/system_stats`, { headers: sent }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on("error", reject)
        .end();
    });

    expect(answered).toBe(status);
  });

  it("is reported in the log", async () => {
    await request(server.url, "GET", "/prompt", undefined, { origin: "http://example.com" });

    expect(server.readLog()).toMatch(logForms.otherOrigin);
  });
});

describe("classes", () => {
  it("are described with the plugin that brought them", async () => {
    const { TestAddOne } = (await get("/object_info/TestAddOne")).json as Record<string, unknown>;

    expect(classInfo.parse(TestAddOne)).toEqual({
      input: { required: { value: ["INT", { default: 0, min: 0, max: 1000 }] } },
      input_order: { required: ["value"] },
      output: ["INT"],
      output_is_list: [false],
      output_name: ["value"],
      name: "TestAddOne",
      display_name: "Test: add one",
      description: "Adds one.",
      python_module: "custom_nodes.working",
      category: "test",
      output_node: true,
    });
  });

  it("of ComfyUI itself keep their interface", async () => {
    const info = (await get("/object_info")).json as Record<string, z.infer<typeof classInfo>>;

    expect(Object.keys(info)).toEqual(
      expect.arrayContaining([
        "EmptyImage",
        "SaveImage",
        "PreviewImage",
        "LoadImage",
        "CheckpointLoaderSimple",
        "KSampler",
      ]),
    );
    expect(info.KSampler?.input_order).toEqual({
      required: [
        "model",
        "seed",
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "positive",
        "negative",
        "latent_image",
        "denoise",
      ],
    });
    expect(info.SaveImage?.input.hidden).toEqual({ prompt: "PROMPT", extra_pnginfo: "EXTRA_PNGINFO" });
    expect(info.EmptyImage?.python_module).toBe("nodes");
  });

  it("that need a model are refused while it is not there, as a value that is not in the list", async () => {
    const prompt = {
      "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "sd15.safetensors" } },
      "2": { class_type: "VAEDecode", inputs: { samples: ["1", 0], vae: ["1", 2] } },
      "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "x" } },
    };
    const { status, json } = await post("/prompt", { prompt });

    expect(status).toBe(400);
    expect(json).toMatchObject({
      node_errors: {
        "1": { errors: [{ type: "value_not_in_list", details: "ckpt_name: 'sd15.safetensors' not in []" }] },
        "2": { errors: [{ type: "return_type_mismatch" }] },
      },
    });
  });
});

describe("web folders", () => {
  it("are listed and served", async () => {
    expect((await get("/extensions")).json).toEqual(["/extensions/web_only/web_only.js"]);
    const file = await get("/extensions/web_only/web_only.js");
    expect([file.status, file.type, file.text]).toEqual([200, "application/javascript", 'console.log("web only");\n']);
  });

  it("give out nothing beside them", async () => {
    expect((await get("/extensions/web_only/%2E%2E%2F__init__.py")).status).toBe(404);
  });
});

describe("files", () => {
  const draw = { "1": { class_type: "EmptyImage", inputs: { width: 8, height: 4, batch_size: 1, color: 255 } } };

  it("that a prompt saved can be looked at, whole and in part", async () => {
    const prompt = {
      ...draw,
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "a/seen" } },
    };
    const entry = await finished(server.url, await submit(server.url, prompt));
    expect(entry).toMatchObject({
      outputs: { "2": { images: [{ filename: "seen_00001_.png", subfolder: "a", type: "output" }] } },
    });

    const whole = await get("/view?filename=seen_00001_.png&subfolder=a&type=output");
    expect([whole.status, whole.type]).toEqual([200, "image/png"]);
    expect(whole.headers.get("content-disposition")).toBe('filename="seen_00001_.png"');
    expect(whole.headers.get("accept-ranges")).toBe("bytes");
    const etag = whole.headers.get("etag") ?? "";
    const part = await request(server.url, "GET", "/view?filename=seen_00001_.png&subfolder=a", undefined, {
      range: "bytes=1-3",
    });
    expect([part.status, part.text]).toEqual([206, "PNG"]);
    const again = await request(server.url, "GET", "/view?filename=seen_00001_.png&subfolder=a", undefined, {
      "if-none-match": etag,
    });
    expect(again.status).toBe(304);
  });

  it.each([
    ["/view", 404],
    ["/view?filename=", 400],
    ["/view?filename=..%2Fsecret", 400],
    ["/view?filename=x.png&type=user", 400],
    ["/view?filename=x.png&subfolder=..", 403],
  ])("that may not be seen are refused: %s gives %i", async (path, status) => {
    expect((await get(path)).status).toBe(status);
  });

  const upload = async (content: string, more: Readonly<Record<string, string>> = {}, name = "up load.png") => {
    const form = new FormData();
    form.set("image", new Blob([content]), name);
    for (const [field, value] of Object.entries(more)) form.set(field, value);
    return post("/upload/image", form);
  };

  it("that are uploaded keep their name, get another one beside a different file, and are not doubled", async () => {
    expect((await upload("one")).json).toEqual({ name: "up load.png", subfolder: "", type: "input" });
    expect((await upload("one")).json).toEqual({ name: "up load.png", subfolder: "", type: "input" });
    expect((await upload("two")).json).toEqual({ name: "up load (1).png", subfolder: "", type: "input" });
    expect((await upload("three", { overwrite: "true", subfolder: "deep/er" })).json).toEqual({
      name: "up load.png",
      subfolder: "deep/er",
      type: "input",
    });

    expect((await get("/view?filename=up%20load.png&type=input")).text).toBe("one");
    expect((await get("/view?filename=up%20load.png&type=input&subfolder=deep/er")).text).toBe("three");
  });

  it("that would be uploaded outside are refused", async () => {
    expect((await upload("x", { subfolder: "../.." })).status).toBe(400);
    expect((await upload("x", {}, "../../x.png")).status).toBe(400);
  });

  it("that were uploaded can be loaded, and a mask makes them transparent", async () => {
    const drawn = await finished(
      server.url,
      await submit(server.url, {
        ...draw,
        "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "plain" } },
      }),
    );
    expect(drawn).toMatchObject({ status: { status_str: "success" } });
    const picture = await fetch(`${server.url}/view?filename=plain_00001_.png`).then((answer) => answer.blob());
    const form = new FormData();
    form.set("image", picture, "plain.png");
    await post("/upload/image", form);
    // The alpha channel of a picture without one is opaque throughout: a mask that hides nothing.
    const mask = await fetch(`${server.url}/view?filename=plain_00001_.png&channel=a`).then((answer) => answer.blob());
    const masked = new FormData();
    masked.set("image", mask, "masked.png");
    masked.set("original_ref", JSON.stringify({ filename: "plain.png", subfolder: "", type: "input" }));

    expect((await post("/upload/mask", masked)).json).toEqual({ name: "masked.png", subfolder: "", type: "input" });
    const prompt = {
      "1": { class_type: "LoadImage", inputs: { image: "masked.png" } },
      "2": { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
      "3": { class_type: "PreviewImage", inputs: { images: ["2", 0] } },
    };
    const entry = await finished(server.url, await submit(server.url, prompt));
    expect(entry).toMatchObject({
      status: { status_str: "success" },
      outputs: {
        "3": { images: [{ filename: expect.stringMatching(/^ComfyUI_temp_[a-z]{5}_00001_\.png$/), type: "temp" }] },
      },
    });
  });

  it("that an upload of more than the largest size would bring are refused", async () => {
    await using small = await startStandIn({ arguments: ["--max-upload-size", "1"] });
    const form = new FormData();
    form.set("image", new Blob(["x".repeat(3 * 1024 * 1024)]), "big.png");

    expect((await request(small.url, "POST", "/upload/image", form)).status).toBe(413);
  });
});

describe("what users keep", () => {
  it("is written, read, listed, moved and removed", async () => {
    expect((await post("/userdata/workflows%2Fa.json", '{"a": 1}')).json).toBe("workflows/a.json");
    expect((await get("/userdata/workflows%2Fa.json")).text).toBe('{"a": 1}');
    expect((await get("/userdata?dir=workflows")).json).toEqual(["a.json"]);
    expect((await post("/userdata/workflows%2Fa.json?overwrite=false", "{}")).status).toBe(409);
    expect((await post("/userdata/workflows%2Fa.json/move/workflows%2Fb.json")).json).toBe("workflows/b.json");
    expect((await request(server.url, "DELETE", "/userdata/workflows%2Fb.json")).status).toBe(204);
    expect((await get("/userdata/workflows%2Fb.json")).status).toBe(404);
    expect((await post("/userdata/..%2F..%2Fout.json", "{}")).status).toBe(403);
  });

  it("includes settings, which add up", async () => {
    expect((await post("/settings", { "Test.A": 1 })).status).toBe(200);
    expect((await post("/api/settings/Test.B", true)).status).toBe(200);

    expect((await get("/settings")).json).toEqual({ "Test.A": 1, "Test.B": true });
    expect((await get("/settings/Test.A")).json).toBe(1);
  });
});

describe("the log", () => {
  it("is given out with only its last 300 entries", async () => {
    const before = (await get("/internal/logs")).json as string;
    expect(before).toContain("Import times for custom nodes:");
    for (let written = 0; written < 300; written++) await post("/interrupt", { prompt_id: "none" });

    const { entries } = answers["/internal/logs/raw"].parse((await get("/internal/logs/raw")).json);
    expect(entries).toHaveLength(300);
    expect((await get("/internal/logs")).json).not.toContain("Import times");
    expect(server.readLog()).toContain("Import times for custom nodes:");
  });
});

describe("a body that is not JSON", () => {
  it.each(["/prompt", "/free"])("is an error of the server at %s", async (path) => {
    const answer = await post(path, "{");

    expect([answer.status, answer.type]).toEqual([500, "text/plain; charset=utf-8"]);
    expect(answer.text).toBe("500 Internal Server Error\n\nServer got itself in trouble");
  });
});
