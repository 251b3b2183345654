export interface AwsEvent {
  readonly what: string;
  /** A node group's name, mostly. */
  readonly of: string;
  readonly detail: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** What happened, in its order. Tests add what they see elsewhere. */
export class EventLog {
  readonly events: AwsEvent[] = [];

  add(what: string, of: string, detail = ""): void {
    this.events.push({ what, of, detail, at: Date.now() });
  }
}
