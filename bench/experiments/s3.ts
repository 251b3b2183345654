import type { Workshop } from "../workshop";

/** Bytes a second that one connection may carry, as the front ends of object stores allow. */
export const connectionLimit = 85e6;

/**
 * An upload through a server that limits each connection.
 *
 * Not measured yet, so the goal counts as unmet. What is to be done: start a server, a
 * `ThrottlingProxy` of {@link connectionLimit} before it, pack with 1, 2, 4 and 8 connections, and compare the stored
 * bytes a second with connections × limit, and with what the same pack reaches without the proxy (the CPU's limit).
 */
export async function s3Upload(shop: Workshop): Promise<void> {
  shop.results.missing("s3.rate", "not measured yet");
}
