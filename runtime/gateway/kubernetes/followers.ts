/** Milliseconds without a word after which a follower no longer counts. */
const alive = 5_000;
/** Milliseconds for which what a follower said counts as its agreement; see {@link import("./election").Election}. */
const agreement = 6_000;
/** Milliseconds of silence after which a follower is forgotten, once the API server would have let it take the Lease. */
const forgotten = 60_000;

interface Follower {
  /** On the clock of `performance.now()`, as all times here. */
  heardAt: number;
  /** When the last answer was given that it is known to have read. */
  agreedAt: number;
  /** Version of the journal up to which it has copied everything. */
  copied: number;
  /** Contents that it is being sent. */
  fetching: number;
}

/** The gateways that follow the leader, as it knows them from their own requests. */
export class Followers {
  private readonly followers = new Map<string, Follower>();

  /** At the beginning of a time of leading: nobody has followed it yet. */
  reset(): void {
    this.followers.clear();
  }

  /** A follower asks for news. @param read the stamp of the last answer that it has read; null for its first one. */
  asks(name: string, copied: number, read: number | null): void {
    const follower = this.of(name);
    follower.heardAt = performance.now();
    follower.copied = copied;
    if (read !== null && read <= follower.heardAt) follower.agreedAt = Math.max(follower.agreedAt, read);
  }

  /** It is being sent a content until the returned function is called. */
  fetches(name: string): () => void {
    const follower = this.of(name);
    follower.fetching += 1;
    return () => {
      follower.fetching -= 1;
      follower.heardAt = performance.now();
    };
  }

  /** It follows no longer, and will not take the Lease. */
  leaves(name: string): void {
    this.followers.delete(name);
  }

  /** Whether every follower that lives has a copy of all that there was at a version. */
  haveCopied(version: number): boolean {
    return this.living().every(({ copied }) => copied >= version);
  }

  get anyLiving(): boolean {
    return this.living().length > 0;
  }

  /** Whether all that are known follow at this moment. */
  agree(): boolean {
    const now = performance.now();
    return [...this.followers.values()].every(({ agreedAt }) => now - agreedAt < agreement);
  }

  /** Forgets who has not been heard of for long; to be called while the Lease is renewed, which says that nobody took it. */
  forget(): void {
    const now = performance.now();
    for (const [name, { heardAt, fetching }] of this.followers) {
      if (fetching === 0 && now - heardAt > forgotten) this.followers.delete(name);
    }
  }

  private living(): readonly Follower[] {
    const now = performance.now();
    return [...this.followers.values()].filter(({ heardAt, fetching }) => fetching > 0 || now - heardAt < alive);
  }

  private of(name: string): Follower {
    const known = this.followers.get(name);
    if (known !== undefined) return known;
    const follower: Follower = {
      heardAt: performance.now(),
      agreedAt: Number.NEGATIVE_INFINITY,
      copied: 0,
      fetching: 0,
    };
    this.followers.set(name, follower);
    return follower;
  }
}
