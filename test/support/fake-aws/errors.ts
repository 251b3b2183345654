/** A refusal, as AWS names it. */
export class AwsError extends Error {
  override name = "AwsError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export const notFound = (message: string) => new AwsError(404, "ResourceNotFoundException", message);
export const inUse = (message: string) => new AwsError(409, "ResourceInUseException", message);
export const invalid = (message: string) => new AwsError(400, "InvalidParameterException", message);
