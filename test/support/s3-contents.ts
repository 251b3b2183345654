import { createHash } from "node:crypto";
import { expect } from "vitest";
import { type StoreVerification, verifyStore } from "../../runtime/snapshot";
import type { S3Server } from "./s3-servers";

/** An object of a store, by its key in the store. */
export interface Held {
  readonly key: string;
  readonly size: number;
}

/** The objects of a store in a server's bucket, whoever wrote them. */
export async function objectsOf(server: S3Server, store: string): Promise<readonly Held[]> {
  const Prefix = prefixOf(server, store);
  const { Contents = [], IsTruncated } = await server.client.listObjectsV2({ Bucket: server.bucket, Prefix });
  if (IsTruncated) throw new Error(`${store} has more objects than one listing shows`);
  return Contents.map(({ Key = "", Size = 0 }) => ({ key: Key.slice(Prefix.length), size: Size }));
}

/** Uploads in parts to a store that nobody completed. */
export async function uploadsTo(server: S3Server, store: string): Promise<readonly string[]> {
  const Prefix = prefixOf(server, store);
  const { Uploads = [] } = await server.client.listMultipartUploads({ Bucket: server.bucket });
  return Uploads.map(({ Key = "" }) => Key).filter((key) => key.startsWith(Prefix));
}

/**
 * Expects that every object of a store has the bytes that its name promises, also those that no snapshot needs, and that every
 * snapshot can be restored.
 */
export async function expectWholeStore(server: S3Server, store: string): Promise<StoreVerification> {
  const wrong: string[] = [];
  for (const { key } of await objectsOf(server, store)) {
    if (!/^(packs|snapshots)\//.test(key)) continue;
    const Key = `${prefixOf(server, store)}${key}`;
    const { Body } = await server.client.getObject({ Bucket: server.bucket, Key });
    const content = (await Body?.transformToByteArray()) ?? new Uint8Array();
    if (createHash("sha256").update(content).digest("hex") !== key.slice(key.lastIndexOf("/") + 1)) wrong.push(key);
  }
  expect(wrong).toEqual([]);
  const verification = await verifyStore({ store, settings: server.settings, deep: true });
  expect(verification.snapshots.flatMap(({ problems }) => problems)).toEqual([]);
  return verification;
}

function prefixOf(server: S3Server, store: string): string {
  return `${store.slice(`s3://${server.bucket}/`.length)}/`;
}
