import type { Affinity } from "./affinity";
import type { ClientSessions } from "./client-sessions";
import type { Fleet } from "./fleet";
import type { ForeignOrigins } from "./foreign-origin";
import type { InputFiles } from "./input-files";
import type { Instance } from "./instance";
import type { Log } from "./log";
import type { Metrics } from "./metrics";
import type { PassThrough } from "./pass-through";
import type { PromptLedger } from "./prompt-ledger";
import type { Spool } from "./spool";
import type { GatewaySettings } from "./targets";
import type { Timeouts } from "./timeouts";

/** What the routes of one gateway work with. */
export interface GatewayParts {
  readonly settings: () => GatewaySettings;
  readonly origins: ForeignOrigins;
  readonly fleet: Fleet;
  readonly affinity: Affinity;
  readonly ledger: PromptLedger;
  readonly spool: Spool;
  readonly sessions: ClientSessions;
  readonly inputs: InputFiles;
  readonly passThrough: PassThrough;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Milliseconds for which a request is held while no instance is ready for it. */
  readonly holdTimeout: number;
  /** Whether nothing of an instance that needs nothing any more would go with this gateway. */
  readonly safe: (instance: Instance) => boolean;
  /** Waited for before a kept upload is answered: nobody else than its client has it. */
  readonly afterUpload: () => Promise<void>;
  /** Throws a {@link NotLeadingError} when this gateway may send no prompt any more. */
  readonly beforePrompt: () => void;
  readonly timeouts: Timeouts;
}
