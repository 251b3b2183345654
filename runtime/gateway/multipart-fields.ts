/** Most bytes of a field that is kept; ComfyUI's fields beside the file are short. */
const longestField = 64 * 2 ** 10;
const longestHead = 16 * 2 ** 10;

/**
 * Reads the short fields of a `multipart/form-data` body that passes by in chunks, without holding its files:
 * what `overwrite` or `original_ref` say decides what has to be done before the body is sent on.
 */
export class MultipartFields {
  readonly fields = new Map<string, string>();
  private readonly delimiter: Buffer | null;
  private rest: Buffer = Buffer.from("\r\n");
  private state: "preamble" | "head" | "content" | "end" = "preamble";
  private field: { readonly name: string; readonly chunks: Buffer[]; size: number } | null = null;

  constructor(contentType: string | undefined) {
    const [, quoted, plain] =
      /^multipart\/form-data\s*;.*?boundary=(?:"([^"]+)"|([^;\s]+))/is.exec(contentType ?? "") ?? [];
    const boundary = quoted ?? plain;
    this.delimiter = boundary === undefined ? null : Buffer.from(`\r\n--${boundary}`);
  }

  /** Takes the next bytes of the body. */
  push(chunk: Buffer): void {
    if (this.delimiter === null || this.state === "end") return;
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    while (this.step(this.delimiter));
  }

  /** Goes one part further; false when it needs more bytes. */
  private step(delimiter: Buffer): boolean {
    if (this.state === "head") {
      const end = this.rest.indexOf("\r\n\r\n");
      // Behind the last delimiter comes `--`.
      if (this.rest.subarray(0, 2).toString() === "--" || (end < 0 && this.rest.length > longestHead)) {
        this.state = "end";
        return false;
      }
      if (end < 0) return false;
      this.field = fieldOf(this.rest.subarray(0, end).toString("utf8"));
      this.rest = this.rest.subarray(end + 4);
      this.state = "content";
      return true;
    }
    const at = this.rest.indexOf(delimiter);
    if (at < 0) {
      // The delimiter may have begun; all before it is content.
      const kept = Math.max(0, this.rest.length - delimiter.length);
      this.take(this.rest.subarray(0, kept));
      this.rest = Buffer.from(this.rest.subarray(kept));
      return false;
    }
    this.take(this.rest.subarray(0, at));
    if (this.state === "content" && this.field !== null) {
      this.fields.set(this.field.name, Buffer.concat(this.field.chunks).toString("utf8"));
    }
    this.field = null;
    this.rest = this.rest.subarray(at + delimiter.length);
    this.state = "head";
    return true;
  }

  private take(content: Buffer): void {
    if (this.field === null || this.state !== "content") return;
    this.field.size += content.length;
    if (this.field.size > longestField) this.field = null;
    else this.field.chunks.push(Buffer.from(content));
  }
}

function fieldOf(head: string): { name: string; chunks: Buffer[]; size: number } | null {
  const disposition = head.split("\r\n").find((line) => /^content-disposition:/i.test(line)) ?? "";
  const [, name] = /[;\s]name="([^"]*)"/i.exec(disposition) ?? [];
  return name === undefined || /[;\s]filename\*?=/i.test(disposition) ? null : { name, chunks: [], size: 0 };
}
