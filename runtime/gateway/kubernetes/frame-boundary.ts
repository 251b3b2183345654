/**
 * Follows the frames of one direction of a WebSocket (RFC 6455, 5.2) without looking into them, to know where a frame of
 * one's own may be put.
 */
export class FrameBoundary {
  private head = Buffer.alloc(0);
  private payloadLeft = 0;
  /** Whether the other side has said that it closes: nothing may come after that. */
  closing = false;

  /** Whether what was seen so far ends with the end of a frame. */
  get between(): boolean {
    return this.payloadLeft === 0 && this.head.length === 0;
  }

  see(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.payloadLeft > 0) {
        const passed = Math.min(this.payloadLeft, rest.length);
        this.payloadLeft -= passed;
        rest = rest.subarray(passed);
        continue;
      }
      const missing = headLength(this.head) - this.head.length;
      this.head = Buffer.concat([this.head, rest.subarray(0, missing)]);
      rest = rest.subarray(missing);
      if (this.head.length < headLength(this.head)) continue;
      if (((this.head[0] ?? 0) & 15) === 8) this.closing = true;
      this.payloadLeft = payloadLength(this.head);
      this.head = Buffer.alloc(0);
    }
  }
}

/** Bytes that a head has, as far as its beginning tells. */
function headLength(head: Buffer): number {
  if (head.length < 2) return 2;
  const second = head[1] ?? 0;
  const extended = { 126: 2, 127: 8 }[second & 127] ?? 0;
  return 2 + extended + (second & 128 ? 4 : 0);
}

function payloadLength(head: Buffer): number {
  const short = (head[1] ?? 0) & 127;
  if (short === 126) return head.readUInt16BE(2);
  return short === 127 ? Number(head.readBigUInt64BE(2)) : short;
}

/** A server's frame that closes with 1012, service restart, upon which clients connect again. */
export function closeFrame(reason: string): Buffer {
  const payload = Buffer.concat([Buffer.from([1012 >> 8, 1012 & 255]), Buffer.from(reason, "utf8")]);
  return Buffer.concat([Buffer.from([0x88, payload.length]), payload]);
}
