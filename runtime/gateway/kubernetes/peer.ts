import { type IncomingMessage, request } from "node:http";
import { deployerTokenHeader } from "../targets";
import { type Identity, identityText } from "./identity";

/** Another gateway of the service. */
export interface PeerOptions {
  /** At which every gateway of the service listens. */
  readonly port: () => number;
  readonly token: () => string;
}

/** Another gateway gave no answer, or a refusal. */
export class PeerError extends Error {
  override readonly name = "PeerError";
  constructor(
    message: string,
    /** Nothing listens at its address. */
    readonly refused: boolean,
    /** Of its answer, if there was one. */
    readonly status: number | null = null,
  ) {
    super(message);
  }
}

/** Asks other gateways of the same service. */
export class Peers {
  constructor(private readonly options: PeerOptions) {}

  /** The answer to a GET with the deployer's token. Throws a {@link PeerError} unless it is a 200. */
  ask(to: Identity, path: string, timeout: number, signal?: AbortSignal): Promise<IncomingMessage> {
    const { port, token } = this.options;
    return new Promise((resolve, reject) => {
      const outgoing = request({
        host: bareAddress(to),
        port: port(),
        path,
        headers: { [deployerTokenHeader]: token(), connection: "close" },
        agent: false,
        timeout,
        ...(signal === undefined ? {} : { signal }),
      });
      outgoing.on("timeout", () => outgoing.destroy(new Error(`silent for ${timeout} ms`)));
      outgoing.on("error", (error: NodeJS.ErrnoException) =>
        reject(new PeerError(`${identityText(to)}: ${error.message}`, error.code === "ECONNREFUSED")),
      );
      outgoing.on("response", (response) => {
        if (response.statusCode === 200) return resolve(response);
        response.resume();
        const { statusCode = 0 } = response;
        reject(new PeerError(`${identityText(to)} answered ${path} with ${statusCode}`, false, statusCode));
      });
      outgoing.end();
    });
  }

  async askJson(to: Identity, path: string, timeout: number, signal?: AbortSignal): Promise<unknown> {
    const response = await this.ask(to, path, timeout, signal);
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
      return JSON.parse(Buffer.concat(chunks).toString("utf8"));
    } catch (error) {
      throw new PeerError(`${identityText(to)}: ${path}: ${(error as Error).message}`, false);
    }
  }
}

export function bareAddress({ address }: Identity): string {
  return address.replace(/^\[|\]$/g, "");
}
