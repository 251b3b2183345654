/**
 * Bytes after which a line is broken. The plugin of @pulumi/command reads what it shows with Go's `bufio.Scanner`, which stops at a line
 * of 64 KiB; the command, a picture as base64 say, would then wait for a reader for ever. https://pkg.go.dev/bufio#pkg-constants
 */
const longest = 32 * 2 ** 10;
const newline = 10;

/** Breaks the lines of a stream, which it is given piece by piece. */
export function inShortLines(): (bytes: Buffer) => Buffer {
  /** Bytes of the line that is not complete yet. */
  let open = 0;
  return (bytes) => {
    const parts: Buffer[] = [];
    let rest = bytes;
    while (rest.length > 0) {
      const end = rest.indexOf(newline);
      const length = Math.min(end === -1 ? rest.length : end + 1, longest - open);
      const part = rest.subarray(0, length);
      parts.push(part);
      open = part.at(-1) === newline ? 0 : open + length;
      if (open === longest) {
        parts.push(Buffer.of(newline));
        open = 0;
      }
      rest = rest.subarray(length);
    }
    return Buffer.concat(parts);
  };
}
