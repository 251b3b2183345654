import { setTimeout as delay } from "node:timers/promises";
import type { S3 } from "@aws-sdk/client-s3";
import { formatDuration } from "../format";
import type { Watch } from "../waiting";
import { DamagedObjectError } from "./object-store";
import { type S3Session, S3Sessions } from "./s3-client";
import { askedPause, type Cause, causeOf, errorOf, type FailureKind, kindOf, type Operation } from "./s3-failure";
import { Slots } from "./slots";
import type { CompleteSettings } from "./store-settings";

/** One attempt of an operation. */
export interface Attempt {
  readonly s3: S3;
  /** Goes to every request of the attempt. */
  readonly options: { readonly abortSignal: AbortSignal };
  /** Says that bytes of an answer came: the attempt gets time again. */
  readonly alive: () => void;
  /** Says that the attempt got further than those before it, however it ends: earlier failures no longer count. */
  readonly gained: () => void;
}

/** Bytes a second below which sending is given up and begun again. */
const slowestUpload = 64 * 1024;
/** Times the usual pause where the server says that it is asked too much. */
const slowDownFactor = 5;
/** Milliseconds, whatever pause a server asks for. */
const longestAskedPause = 60_000;

/**
 * Requests to one bucket: bounded in number, each repeated until it succeeds, its failure cannot be mended, or its attempts
 * or its time are used up.
 */
export class S3Connection {
  readonly #sessions: S3Sessions;
  readonly #slots: Slots;

  constructor(
    private readonly bucket: string,
    private readonly settings: CompleteSettings,
    private readonly watch: Partial<Watch>,
  ) {
    this.#sessions = new S3Sessions(settings);
    this.#slots = new Slots(settings.connections);
  }

  /**
   * Does an operation. `work` may be called several times and goes on where it can. Throws `S3Error`, or the reason of
   * the signal, which is the store's own unless another is given.
   */
  async run<T>(
    operation: Operation,
    work: (attempt: Attempt) => Promise<T>,
    signal: AbortSignal | undefined = this.watch.signal,
  ): Promise<T> {
    const state = new Tries(this.settings);
    for (;;) {
      signal?.throwIfAborted();
      let session: S3Session | undefined;
      let cause: Cause;
      try {
        return await this.#slots.during(async () => {
          signal?.throwIfAborted();
          session = await this.#sessions.current();
          return await this.#attempt(session, operation, work, state, signal);
        });
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof DamagedObjectError) throw error;
        cause = causeOf(error);
      }
      const kind = kindOf(cause);
      if (kind === "expired" && session !== undefined && this.#sessions.renewable && state.mayRenew()) {
        this.#sessions.renew(session);
        continue;
      }
      if (kind === "clock" && state.mayCorrectClock()) continue;
      const again = kind === "transient" || (kind === "conflict" && operation.conflictEnds !== true);
      const pause = again ? state.pauseAfter(cause) : undefined;
      if (pause === undefined) throw await this.#error(cause, kind, operation, session, state);
      this.watch.progress?.(
        `${cause.code} at ${operation.object}; trying again in ${formatDuration(pause)} (attempt ${state.failures + 1})`,
      );
      await delay(pause, undefined, signal === undefined ? {} : { signal }).catch(() => signal?.throwIfAborted());
    }
  }

  async #attempt<T>(
    session: S3Session,
    { bytes = 0 }: Operation,
    work: (attempt: Attempt) => Promise<T>,
    state: Tries,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { idle, operation } = this.settings.timeouts;
    const timedOut = new AbortController();
    const expire = (text: string) => () => timedOut.abort(new TimeoutError(text));
    const quiet = setTimeout(expire(`no answer within ${formatDuration(idle)}`), idle + (bytes / slowestUpload) * 1000);
    const total = setTimeout(expire(`not done within ${formatDuration(operation)}`), state.left());
    const alive = () => void quiet.refresh();
    const gained = () => state.gained();
    const abortSignal = signal === undefined ? timedOut.signal : AbortSignal.any([timedOut.signal, signal]);
    try {
      return await work({ s3: session.s3, options: { abortSignal }, alive, gained });
    } catch (error) {
      // What the SDK throws then says only that it was stopped.
      throw timedOut.signal.aborted ? timedOut.signal.reason : error;
    } finally {
      clearTimeout(quiet);
      clearTimeout(total);
    }
  }

  async #error(
    cause: Cause,
    kind: FailureKind,
    operation: Operation,
    session: S3Session | undefined,
    state: Tries,
  ): Promise<Error> {
    const identity = await session?.s3.config.credentials().catch(() => undefined);
    const { accessKeyId, secretAccessKey, sessionToken } = { ...this.settings.credentials, ...identity };
    const secrets = [accessKeyId, secretAccessKey, sessionToken].filter((text) => text !== undefined && text !== "");
    const clean = (told: string) =>
      secrets.reduce<string>((text, secret) => text.replaceAll(secret ?? "", "***"), told);
    const told = { ...cause, message: clean(cause.message), code: clean(cause.code) };
    return errorOf(told, kind, operation, this.bucket, state.told());
  }
}

/** Its name is what the SDK gives its own time-outs. */
class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** What was tried for one operation, and what may still be. */
class Tries {
  failures = 0;
  #sinceGain = 0;
  #renewed = false;
  #corrected = false;
  readonly #started = performance.now();

  constructor(private readonly settings: CompleteSettings) {}

  /** Milliseconds of the operation's time. */
  left(): number {
    return Math.max(0, this.settings.timeouts.operation - this.#elapsed());
  }

  gained(): void {
    this.#sinceGain = 0;
  }

  mayRenew(): boolean {
    const may = !this.#renewed;
    this.#renewed = true;
    return may;
  }

  mayCorrectClock(): boolean {
    const may = !this.#corrected;
    this.#corrected = true;
    return may;
  }

  /** Milliseconds until the next attempt, or undefined when there is none. */
  pauseAfter(cause: Cause): number | undefined {
    const { attempts, firstPause, longestPause } = this.settings.retries;
    this.failures += 1;
    this.#sinceGain += 1;
    if (this.#sinceGain >= attempts) return undefined;
    const factor = cause.code === "SlowDown" || cause.status === 503 ? slowDownFactor : 1;
    const usual = Math.min(longestPause, firstPause * factor * 2 ** (this.#sinceGain - 1));
    const pause = Math.max(usual * (0.5 + Math.random() / 2), Math.min(askedPause(cause), longestAskedPause));
    return pause < this.left() ? pause : undefined;
  }

  /** For an error's text. */
  told(): string {
    return this.failures === 0 ? "" : `, tried ${this.failures} times in ${formatDuration(this.#elapsed())}`;
  }

  #elapsed(): number {
    return performance.now() - this.#started;
  }
}
