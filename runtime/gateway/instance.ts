import type { Candidate } from "./routing";
import type { InstanceState, TargetInstance } from "./targets";

let decisions = 0;

/** One ComfyUI process as the gateway sees it. A process that was started anew is another instance of the same id. */
export class Instance implements Candidate {
  readonly id: string;
  readonly release: string;
  readonly epoch: number;
  readonly url: URL;
  state: InstanceState;
  /** Requests of clients under way to it. */
  inFlight = 0;
  /** Running plus waiting prompts as it last answered; null while it does not answer. */
  queueRemaining: number | null = null;
  /** False once the targets no longer name this process. */
  present = true;
  lastChosen = 0;
  private accepted = 0;
  private acceptedWhenAsked = 0;
  private submitting = 0;

  constructor(target: TargetInstance) {
    this.id = target.id;
    this.release = target.release;
    this.epoch = target.epoch;
    this.url = new URL(target.url);
    this.state = target.state;
  }

  get answering(): boolean {
    return this.queueRemaining !== null;
  }

  get load(): number {
    return (this.queueRemaining ?? 0) + (this.accepted - this.acceptedWhenAsked) + this.submitting;
  }

  /** Notes that a decision fell on this instance. */
  noteChosen(): void {
    decisions += 1;
    this.lastChosen = decisions;
  }

  /** Counts a request as under way until the returned function is called, at which every further call does nothing. */
  begin(): () => void {
    this.inFlight += 1;
    return once(() => {
      this.inFlight -= 1;
    });
  }

  /** Counts a prompt as on its way to this instance until the returned function is called with its outcome. */
  beginSubmission(): (accepted: boolean) => void {
    this.submitting += 1;
    const done = this.begin();
    const end = once((accepted: boolean) => {
      this.submitting -= 1;
      if (accepted) this.accepted += 1;
      done();
    });
    return end;
  }

  /** Notes that the queue's length is being asked; the returned function takes the answer. */
  beginPoll(): (queueRemaining: number | null) => void {
    const { accepted } = this;
    return (queueRemaining) => {
      this.queueRemaining = queueRemaining;
      this.acceptedWhenAsked = accepted;
    };
  }

  /** Whether the same process is named by the target. */
  is(target: TargetInstance): boolean {
    return this.id === target.id && this.epoch === target.epoch && this.url.href === new URL(target.url).href;
  }
}

function once<A extends unknown[]>(action: (...values: A) => void): (...values: A) => void {
  let done = false;
  return (...values) => {
    if (done) return;
    done = true;
    action(...values);
  };
}
