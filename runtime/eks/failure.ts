/** As every client of the AWS SDK throws it; told by its form, since loading a client takes time. */
interface AwsFailure extends Error {
  readonly $metadata: { readonly httpStatusCode?: number };
}

export function isAwsFailure(error: unknown): error is AwsFailure {
  return error instanceof Error && "$metadata" in error;
}

/** Names that services give to a refusal for want of a permission. */
const refusals = new Set(["AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"]);

/** Whether the caller may not do this. */
export function isForbidden(error: unknown): boolean {
  return error instanceof Error && refusals.has(error.name);
}

export function isNotFound(error: unknown): boolean {
  return error instanceof Error && error.name === "ResourceNotFoundException";
}

/** Whether another change of the same thing is under way. */
export function isInUse(error: unknown): boolean {
  return error instanceof Error && ["ResourceInUseException", "ScalingActivityInProgress"].includes(error.name);
}

/** Whether asking again later may help: AWS is away, too busy, or asked too often. */
export function mayPass(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (/Throttl|TooManyRequests|RequestLimitExceeded|ServiceUnavailable|ServerException|TimeoutError/.test(error.name)) {
    return true;
  }
  if (isAwsFailure(error) && (error.$metadata.httpStatusCode ?? 0) >= 500) return true;
  return ["ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "EPIPE"].includes(
    String((error as NodeJS.ErrnoException).code),
  );
}

/** What AWS says of a refusal, with its name, which a person finds in the documentation. */
export function awsReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return isAwsFailure(error) && !error.message.includes(error.name) ? `${error.name}: ${error.message}` : error.message;
}
