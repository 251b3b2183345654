/**
 * Frees a buffer's memory at once, after which nothing may use it: waiting for the collector, which sees only how small the object is, would
 * hold many times as much. Only for a buffer that has its memory for itself.
 */
export function freeMemory({ buffer }: ArrayBufferView): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
