import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";

/** The folders of an {@link import("./gateway-upstream").Upstream}: what it draws, gives and takes. */
export class UpstreamFiles extends Map<string, Buffer> {
  /** Least bytes of each file that is drawn. */
  leastSize = 0;
  private counter = 0;

  constructor(private readonly name: string) {
    super();
  }

  /** What a node gives; `SaveImage` and `PreviewImage` write a file that tells who wrote it. */
  draw(classType: string, id: string, inputs: Record<string, unknown>): unknown {
    if (classType !== "SaveImage" && classType !== "PreviewImage") return { value: [this.name] };
    this.counter += 1;
    const filename = `ComfyUI_${String(this.counter).padStart(5, "0")}_.png`;
    const type = classType === "SaveImage" ? "output" : "temp";
    const subfolder = String(inputs.subfolder ?? "");
    const content = `${this.name} drew ${filename} for ${id}`.padEnd(this.leastSize, ".");
    this.set(fileKey(type, subfolder, filename), Buffer.from(content));
    return { images: [{ filename, subfolder, type }] };
  }

  view(response: ServerResponse, query: URLSearchParams): void {
    const content = this.get(
      fileKey(query.get("type") ?? "output", query.get("subfolder") ?? "", query.get("filename") ?? ""),
    );
    if (content === undefined) {
      response.writeHead(404).end();
      return;
    }
    const body = query.has("preview") ? Buffer.concat([Buffer.from("preview of "), content]) : content;
    response.writeHead(200, { "content-type": "image/png", "content-length": body.length });
    response.end(body);
  }

  async upload(request: IncomingMessage, response: ServerResponse, body: Buffer): Promise<void> {
    const form = await new Response(new Uint8Array(body), {
      headers: { "content-type": request.headers["content-type"] ?? "" },
    }).formData();
    const image = form.get("image");
    if (!(image instanceof File)) {
      response.writeHead(400).end();
      return;
    }
    const original = form.get("original_ref");
    let content = Buffer.from(await image.arrayBuffer());
    if (typeof original === "string") {
      const { filename, subfolder = "", type = "output" } = JSON.parse(original) as Record<string, string>;
      const base = this.get(fileKey(type, subfolder, filename ?? ""));
      if (base === undefined) {
        response.writeHead(400).end();
        return;
      }
      content = Buffer.concat([base, Buffer.from(" masked with "), content]);
    }
    const type = String(form.get("type") ?? "input");
    const subfolder = String(form.get("subfolder") ?? "");
    const overwrite = ["true", "1"].includes(String(form.get("overwrite")));
    const [, stem = "", extension = ""] = /^(.*?)(\.[^.]*)?$/.exec(image.name) ?? [];
    let name = image.name;
    for (let count = 1; !overwrite; count += 1) {
      const known = this.get(fileKey(type, subfolder, name));
      if (known === undefined || known.equals(content)) break;
      name = `${stem} (${count})${extension}`;
    }
    this.set(fileKey(type, subfolder, name), content);
    json(response, JSON.stringify({ name, subfolder, type }));
  }
}

export function fileKey(type: string, subfolder: string, filename: string): string {
  return `${type}/${subfolder}/${filename}`;
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** The file that a `LoadImage` input names. */
export function annotated(text: string): string {
  const [, path = "", type = "input"] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(text) ?? [];
  const slash = path.lastIndexOf("/");
  return fileKey(type, path.slice(0, Math.max(0, slash)), path.slice(slash + 1));
}

export function json(response: ServerResponse, text: string, status = 200): void {
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}
