/** As the client throws it; told by its form, since loading the client takes time that a program on one machine need not spend. */
interface ApiFailure extends Error {
  readonly code: number;
  readonly body: unknown;
}

function isApiFailure(error: unknown): error is ApiFailure {
  return error instanceof Error && "body" in error && "code" in error && typeof error.code === "number";
}

/** The HTTP status with which the API server refused, or null for a failure of another kind. */
export function statusOf(error: unknown): number | null {
  return isApiFailure(error) ? error.code : null;
}

/** What the API server says of a refusal in one sentence, without the headers and the JSON around it. */
export function reasonOf(error: unknown): string {
  if (isApiFailure(error)) {
    const { body } = error;
    const status = typeof body === "string" ? parsed(body) : body;
    const message = (status as { message?: unknown } | null)?.message;
    // Without a body, the client's message is the one line that says something, then the headers.
    const said = typeof message === "string" ? message : (/^Message: (.*)$/m.exec(error.message)?.[1] ?? error.message);
    return `${said} (HTTP ${error.code})`;
  }
  if (error instanceof Error) {
    const cause = error.cause instanceof Error && !error.message.includes(error.cause.message) ? error.cause : null;
    return cause === null ? error.message : `${error.message}: ${cause.message}`;
  }
  return String(error);
}

/** Whether a call was given up because its time was over. */
export function isTimeout(error: unknown): boolean {
  return error instanceof Error && (error.name === "AbortError" || error.name === "TimeoutError");
}

/** The value, or null when there is no such object. */
export async function orNull<T>(request: Promise<T>): Promise<T | null> {
  try {
    return await request;
  } catch (error) {
    if (statusOf(error) === 404) return null;
    throw error;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
