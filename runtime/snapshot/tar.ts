/**
 * Headers of a tar archive in the POSIX form (pax, IEEE Std 1003.1-2001), which GNU tar, BSD tar, Python and others read. Equal
 * entries give equal bytes: owner and group are 0 and without names.
 */

export interface TarEntry {
  readonly type: "file" | "directory" | "link";
  /** Relative, `/` as separator. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  /** Seconds since 1970 with nine decimals. */
  readonly mtime: string;
  /** Bytes of a file; 0 for others. */
  readonly size: number;
  /** Where a link leads; empty for others. */
  readonly target: string;
}

/** Bytes of a block: headers have one, and contents are filled up to a multiple of it. */
const block = 512;
/** Bytes that the fields for names have, and the largest number that 11 octal digits hold. */
const nameField = 100;
const largestOctal = 8 ** 11 - 1;

const typeFlags = { file: "0", directory: "5", link: "2" } as const;

/** What stands before an entry's content: its header, after one with what that cannot hold. */
export function tarHeader(entry: TarEntry): Buffer {
  const name = entry.type === "directory" ? `${entry.path}/` : entry.path;
  const [seconds = "0", decimals = ""] = entry.mtime.split(".");
  const fraction = decimals.replace(/0+$/, "");
  const records = [
    ...(fits(name) ? [] : [record("path", name)]),
    ...(fits(entry.target) ? [] : [record("linkpath", entry.target)]),
    ...(fraction === "" && isOctal(Number(seconds))
      ? []
      : [record("mtime", fraction === "" ? seconds : `${seconds}.${fraction}`)]),
    ...(isOctal(entry.size) ? [] : [record("size", String(entry.size))]),
  ];
  const header = ustar({ ...entry, name, seconds: Number(seconds), flag: typeFlags[entry.type] });
  if (records.length === 0) return header;
  const extension = Buffer.concat(records);
  const before = ustar({
    name: `PaxHeaders/${name}`,
    mode: 0o644,
    size: extension.length,
    seconds: 0,
    flag: "x",
    target: "",
  });
  return Buffer.concat([before, extension, tarPadding(extension.length), header]);
}

/** What fills a content of so many bytes up to whole blocks. */
export function tarPadding(size: number): Buffer {
  return Buffer.alloc((block - (size % block)) % block);
}

/** Stands at the end; without it an archive is not complete. */
export const tarEnd = Buffer.alloc(2 * block);

function ustar(fields: {
  readonly name: string;
  readonly mode: number;
  readonly size: number;
  readonly seconds: number;
  readonly flag: string;
  readonly target: string;
}): Buffer {
  const header = Buffer.alloc(block);
  shorten(fields.name).copy(header, 0);
  header.write(octal(fields.mode, 7), 100, "latin1");
  header.write(octal(0, 7), 108, "latin1");
  header.write(octal(0, 7), 116, "latin1");
  header.write(octal(isOctal(fields.size) ? fields.size : 0, 11), 124, "latin1");
  header.write(octal(isOctal(fields.seconds) ? fields.seconds : 0, 11), 136, "latin1");
  header.write("        ", 148, "latin1"); // The sum is taken with spaces in its own place.
  header.write(fields.flag, 156, "latin1");
  shorten(fields.target).copy(header, 157);
  header.write("ustar\x0000", 257, "latin1");
  header.write(octal(0, 7), 329, "latin1");
  header.write(octal(0, 7), 337, "latin1");
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${octal(sum, 6)}\0 `, 148, "latin1");
  return header;
}

/** Its own length stands in it, in decimal digits, and counts those. */
function record(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (String(length).length > String(rest).length) length = rest + String(length).length;
  return Buffer.from(`${length} ${key}=${value}\n`);
}

/** In the plain header names are bytes of no known encoding, so that others than ASCII go into a record, which is UTF-8. */
function fits(name: string): boolean {
  const bytes = Buffer.byteLength(name);
  return bytes <= nameField && bytes === name.length;
}

function shorten(name: string): Buffer {
  return Buffer.from(name).subarray(0, nameField);
}

function isOctal(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= largestOctal;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}
