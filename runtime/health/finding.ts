/** How far a proof has come. */
export type ProofPhase = "booting" | "importing" | "smoke" | "stabilizing";

/** Why a process is not proven, and will not be by waiting longer. */
export interface Finding {
  readonly phase: ProofPhase;
  readonly reason: string;
  readonly plugin?: string;
  readonly traceback?: string;
}
