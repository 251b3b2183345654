import type * as pulumi from "@pulumi/pulumi";
import { sdk } from "./sdk";

/** What a store in S3 needs to be told besides its location. Credentials come from the AWS SDK's chain and are in no state. */
export interface StoreAccess {
  /** The bucket's region. @default what the AWS SDK finds; `us-east-1` with an endpoint */
  readonly region?: string;
  /** URL of an S3-compatible server. @default AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else AWS */
  readonly endpoint?: string;
  /** Whether the bucket stands in the URL's path instead of its host name. @default true with an endpoint, false without */
  readonly pathStyle?: boolean;
  /** Key of the AWS Key Management Service that encrypts what is written. @default the bucket's own encryption */
  readonly kmsKeyId?: string;
}

/** A store in S3, with what it needs to be told. */
export interface S3StoreArgs extends StoreAccess {
  /** `s3://bucket/prefix`. The bucket must exist. */
  readonly url: string;
}

/** A store that a component of the program makes: `SnapshotBucket` is one. */
export interface MadeStore extends pulumi.Resource {
  readonly store: S3StoreArgs;
}

/** A folder relative to the program's, `s3://bucket/prefix`, the latter with settings, or a `SnapshotBucket`. */
export type Store = string | S3StoreArgs | MadeStore;

/** A snapshot whose store needs more than its location. A `Snapshot` is one. */
export interface SnapshotPin {
  /** `<store>#sha256:<digest>` */
  readonly reference: pulumi.Input<string>;
  readonly store?: StoreAccess | undefined;
}

/** A store's parts, and what has to be there before it is. */
export function storeOf(store: Store): {
  readonly store: string;
  readonly access: StoreAccess | undefined;
  readonly makers: readonly pulumi.Resource[];
} {
  if (typeof store === "string") return { store, access: undefined, makers: [] };
  if ("store" in store) return { ...storeOf(store.store), makers: [store] };
  const { url, ...access } = store;
  return { store: url, access, makers: [] };
}

export function pinOf(snapshot: pulumi.Input<string> | SnapshotPin): SnapshotPin {
  const isReference = typeof snapshot === "string" || snapshot instanceof Promise || sdk.Output.isInstance(snapshot);
  return isReference ? { reference: snapshot } : { reference: snapshot.reference, store: snapshot.store };
}
