import type { Refusal } from "./protocol";

/** HTTP status of each refusal's code. */
const statusOf: Readonly<Record<Refusal["code"], number>> = {
  invalid: 400,
  "not-found": 404,
  "owned-by-another": 409,
  superseded: 409,
  "still-serving": 409,
  "not-proven": 409,
  "port-taken": 409,
  "drain-deadline": 409,
  internal: 500,
};

/** Thrown inside the supervisor to answer a request with a {@link Refusal}. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly refusal: Refusal;

  constructor(code: Refusal["code"], message: string, details?: unknown) {
    super(message);
    this.refusal = { code, message, ...(details === undefined ? {} : { details }) };
  }

  get status(): number {
    return statusOf[this.refusal.code];
  }
}
