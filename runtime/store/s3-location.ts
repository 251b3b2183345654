/** Where in which bucket a store lies. */
export interface S3Location {
  readonly bucket: string;
  /** Without slashes at its ends; empty when the store is the whole bucket. */
  readonly prefix: string;
}

const scheme = "s3://";
/** Bytes. S3 allows 1024 for a key, of which the longest of a store's own takes 133. */
const longestPrefix = 800;

/** Whether a text means a store in a bucket, be it well formed or not. */
export function isS3Location(text: string): boolean {
  return text.startsWith(scheme);
}

/** Reads `s3://bucket/prefix`; throws an error that says what would be right. */
export function parseS3Location(text: string): S3Location {
  const wrong = (what: string) =>
    new Error(`${JSON.stringify(text)} is not a store: ${what}; right is for example s3://my-bucket/comfyui`);
  if (!isS3Location(text)) throw wrong(`it does not begin with ${scheme}`);
  const [bucket = "", ...segments] = text.slice(scheme.length).replace(/\/$/, "").split("/");
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) || bucket.includes("..")) {
    throw wrong(`${JSON.stringify(bucket)} is not the name of a bucket (3 to 63 of a-z, 0-9, "-" and ".")`);
  }
  if (segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    throw wrong('its prefix has an empty segment, "." or ".."');
  }
  const prefix = segments.join("/");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused.
  if (/[\u0000-\u001f\u007f]/.test(prefix)) throw wrong("its prefix has a control character");
  if (Buffer.byteLength(prefix) > longestPrefix) throw wrong(`its prefix is longer than ${longestPrefix} bytes`);
  return { bucket, prefix };
}

/** The text form of a location, which {@link parseS3Location} reads. */
export function formatS3Location({ bucket, prefix }: S3Location): string {
  return prefix === "" ? `${scheme}${bucket}` : `${scheme}${bucket}/${prefix}`;
}
