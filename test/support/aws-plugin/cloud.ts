import { setTimeout as pause } from "node:timers/promises";
import { isValues, textAt, type Values } from "../plugin-base/values";

/** A refusal of the account's. */
export class CloudError extends Error {
  override name = "CloudError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
  get isNotFound(): boolean {
    return this.code === "ResourceNotFoundException";
  }
}

/** Attempts at a request that is throttled, as the SDK of the released plugin makes them: aws-sdk-go-v2's are 25 in that plugin. */
const maxAttempts = 25;

/** The account of test/support/fake-aws. */
export class Cloud {
  private constructor(private readonly url: string) {}

  /** @throws without AWS_ENDPOINT_URL_EKS at this machine: this is no plugin for AWS */
  static ofEnvironment({ AWS_ENDPOINT_URL_EKS: url }: NodeJS.ProcessEnv): Cloud {
    if (url === undefined || new URL(url).hostname !== "127.0.0.1") {
      throw new Error("AWS_ENDPOINT_URL_EKS does not lead to the fake account of the tests");
    }
    return new Cloud(url);
  }

  async call(method: string, path: string, body?: Values): Promise<Values> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#send(method, path, body);
      } catch (error) {
        if (!(error instanceof CloudError) || error.status !== 429 || attempt >= maxAttempts) throw error;
        await pause(50);
      }
    }
  }

  async #send(method: string, path: string, body: Values | undefined): Promise<Values> {
    const response = await fetch(this.url + path, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer: unknown = await response.json();
    if (!response.ok) {
      const code = response.headers.get("x-amzn-errortype") ?? String(response.status);
      throw new CloudError(response.status, code, textAt(answer, "message") ?? "");
    }
    return isValues(answer) ? answer : {};
  }
}
