/** Clients that a gateway remembers; beyond, those that were not seen for the longest time are forgotten. */
const most = 50_000;

/**
 * Which instance each client's prompts go to. A client is known by several keys at once (its `client_id`, the gateway's
 * cookie); the first one that is known decides, and all of them remember the decision.
 */
export class Affinity {
  private readonly instances = new Map<string, string>();

  find(keys: readonly string[]): string | undefined {
    for (const key of keys) {
      const instance = this.instances.get(key);
      if (instance !== undefined) {
        this.remember([key], instance);
        return instance;
      }
    }
    return undefined;
  }

  remember(keys: readonly string[], instance: string): void {
    for (const key of keys) {
      this.instances.delete(key);
      this.instances.set(key, instance);
    }
    for (const key of this.instances.keys()) {
      if (this.instances.size <= most) break;
      this.instances.delete(key);
    }
  }
}
