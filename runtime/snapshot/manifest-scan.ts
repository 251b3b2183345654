/* Reads entries of a manifest from its bytes, as this package writes them. What is written otherwise is for the JSON parser. */

const literal = (text: string) => Buffer.from(text, "latin1");
const fileStart = literal('{"type":"file","path":"');
const directoryStart = literal('{"type":"directory","path":"');
const modeStart = literal('","mode":"');
const timeStart = literal('","mtime":"');
const sizeStart = literal('","size":');
const digestStart = literal(',"sha256":"');
const identityStart = literal(',"identity":"');
const uncounted = literal(',"counts":false');
const partsStart = literal(',"parts":[');
const [quote, backslash, slash, dot, zero, nine, minus] = [34, 92, 47, 46, 48, 57, 45];
const [comma, open, close, brace, newline] = [44, 91, 93, 125, 10];
/** Digits that any number of this length has room for in a double. */
const mostDigits = 15;

/** Of a hex digit in lower case, its value; -1 of anything else. */
const nibbles = new Int8Array(256).fill(-1);
for (let value = 0; value < 16; value++) nibbles["0123456789abcdef".charCodeAt(value)] = value;

/**
 * One entry where it stands in the text of a manifest, and what is said of it there. Found a hundred thousand times, so that nothing is made
 * for it: the same object takes one entry after the other.
 */
export class ScannedEntry {
  bytes: Buffer = Buffer.alloc(0);
  isFile = false;
  /** Where the path is. It is plain: printable ASCII that needs no escape in JSON. */
  pathFrom = 0;
  pathTo = 0;
  /** Where the last slash of the path is, or -1. */
  slash = -1;
  /** Permission bits. */
  mode = 0;
  counts = true;
  /** Of a file: its time, as {@link ManifestTable} keeps it; bytes; and where the hex digits of its hash and of its identity begin, or -1. */
  seconds = 0;
  nanoseconds = 0;
  size = 0;
  digestAt = -1;
  identityAt = -1;
  /** Frame, offset and length of each part, one after the other; of them, `partNumbers` are of this entry. */
  readonly parts: number[] = [];
  partNumbers = 0;
  #at = 0;
  #value = 0;

  /** Reads the line that begins here. Returns where the next one begins, or -1 where it is not written so, which says nothing of its being valid. */
  read(bytes: Buffer, from: number): number {
    this.bytes = bytes;
    this.#at = from;
    this.isFile = this.#skip(fileStart);
    if (!this.isFile && !this.#skip(directoryStart)) return -1;
    if (!this.#path() || !this.#skip(modeStart) || !this.#mode()) return -1;
    if (this.isFile ? !this.#file() : !this.#directory()) return -1;
    if (bytes[this.#at] !== brace || bytes[this.#at + 1] !== newline) return -1;
    return this.#at + 2;
  }

  #directory(): boolean {
    if (this.bytes[this.#at++] !== quote) return false;
    this.counts = !this.#skip(uncounted);
    return true;
  }

  #file(): boolean {
    if (!this.#skip(timeStart) || !this.#time() || !this.#skip(sizeStart) || !this.#number()) return false;
    this.size = this.#value;
    if (!this.#skip(digestStart)) return false;
    this.digestAt = this.#digest();
    this.identityAt = -1;
    if (this.digestAt >= 0 && this.#skip(identityStart)) {
      this.identityAt = this.#digest();
      if (this.identityAt < 0) return false;
    }
    this.counts = !this.#skip(uncounted);
    return this.digestAt >= 0 && this.#skip(partsStart) && this.#parts();
  }

  #skip(expected: Buffer): boolean {
    const { bytes } = this;
    const at = this.#at;
    for (let index = 0; index < expected.length; index++) if (bytes[at + index] !== expected[index]) return false;
    this.#at = at + expected.length;
    return true;
  }

  /** A path that is safe for sure, up to the quote after it. */
  #path(): boolean {
    const { bytes } = this;
    const from = this.#at;
    let at = from;
    let last = from - 1;
    for (; ; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === quote) break;
      if (byte < 32 || byte > 126 || byte === backslash) return false;
      if (byte === slash) {
        // Neither an empty name nor one that begins with a dot: that may be none of a file.
        if (at === last + 1) return false;
        last = at;
      } else if (byte === dot && at === last + 1) {
        const [next, second] = [bytes[at + 1], bytes[at + 2]];
        const ends = next === slash || next === quote;
        if (ends || (next === dot && (second === slash || second === quote))) return false;
      }
    }
    if (at === last + 1) return false;
    this.pathFrom = from;
    this.pathTo = at;
    this.slash = last < from ? -1 : last;
    this.#at = at;
    return true;
  }

  #mode(): boolean {
    const { bytes } = this;
    let mode = 0;
    let digits = 0;
    for (; digits < 4; digits++) {
      const digit = (bytes[this.#at] ?? 0) - zero;
      if (digit < 0 || digit > 7) break;
      mode = mode * 8 + digit;
      this.#at += 1;
    }
    this.mode = mode;
    return digits > 0 && digits < 4;
  }

  #time(): boolean {
    const isNegative = this.bytes[this.#at] === minus;
    if (isNegative) this.#at += 1;
    const from = this.#at;
    if (!this.#digits() || this.#at - from > 12) return false;
    this.seconds = this.#value;
    if (this.bytes[this.#at++] !== dot) return false;
    const fraction = this.#at;
    if (!this.#digits() || this.#at - fraction !== 9) return false;
    this.nanoseconds = isNegative ? ~this.#value : this.#value;
    return true;
  }

  /** As JSON has them: without zeros before. */
  #number(): boolean {
    const from = this.#at;
    return this.#digits() && (this.#at - from === 1 || this.bytes[from] !== zero);
  }

  #digits(): boolean {
    const { bytes } = this;
    const from = this.#at;
    let at = from;
    let value = 0;
    for (; ; at++) {
      const byte = bytes[at] ?? 0;
      if (byte < zero || byte > nine) break;
      value = value * 10 + (byte - zero);
    }
    this.#at = at;
    this.#value = value;
    return at > from && at - from <= mostDigits;
  }

  /** Where the 64 hex digits begin, or -1. */
  #digest(): number {
    const { bytes } = this;
    const from = this.#at;
    let wrong = 0;
    for (let at = from; at < from + 64; at++) wrong |= nibbles[bytes[at] ?? 0] ?? -1;
    if (wrong < 0 || bytes[from + 64] !== quote) return -1;
    this.#at = from + 65;
    return from;
  }

  #parts(): boolean {
    const { bytes, parts } = this;
    let count = 0;
    while (bytes[this.#at] === open) {
      for (let number = 0; number < 3; number++) {
        this.#at += 1;
        if (!this.#number()) return false;
        parts[count++] = this.#value;
        if (bytes[this.#at] !== (number < 2 ? comma : close)) return false;
      }
      this.#at += 1;
      if (bytes[this.#at] !== comma) break;
      this.#at += 1;
      if (bytes[this.#at] !== open) return false;
    }
    this.partNumbers = count;
    return bytes[this.#at++] === close;
  }
}

/** Writes what 64 hex digits in lower case say as 32 bytes. */
export function decodeDigest(hex: Uint8Array, from: number, to: Uint8Array, at: number): void {
  for (let index = 0; index < 32; index++) {
    const digit = from + index * 2;
    to[at + index] = ((nibbles[hex[digit] ?? 0] ?? 0) << 4) | (nibbles[hex[digit + 1] ?? 0] ?? 0);
  }
}
