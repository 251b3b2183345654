import type { Difference } from "./differences";
import type { Values } from "./values";

export interface ConfigurationDifference {
  readonly changed: readonly string[];
  readonly replaces: readonly string[];
}

export interface ResourceDifference {
  readonly details: ReadonlyMap<string, Difference>;
  readonly replaces: readonly string[];
  readonly deleteBeforeReplace: boolean;
}

export interface Saved {
  readonly id: string;
  readonly properties: Values;
}

export interface UpdateOptions {
  readonly id: string;
  /** Seconds of `customTimeouts`; 0 for none. */
  readonly timeout: number;
  readonly preview: boolean;
  readonly ignored: readonly string[];
}

/** What a stand-in resource plugin does, apart from the protocol by which it is asked. Secrets and unknown values come marked (properties.ts). */
export interface StandIn {
  diffConfig(olds: Values, news: Values): ConfigurationDifference;
  /** @param setting gives a setting of the provider resource, as text or JSON */
  configure(setting: (name: string) => string | undefined): Promise<void>;
  /** The inputs as they will be used. */
  check(urn: string, olds: Values, news: Values, seed: Uint8Array): Promise<Values>;
  diff(urn: string, olds: Values, news: Values, ignored: readonly string[]): Promise<ResourceDifference>;
  create(urn: string, news: Values, timeout: number, preview: boolean): Promise<Saved>;
  update(urn: string, olds: Values, news: Values, options: UpdateOptions): Promise<Values>;
  /** The state of a resource as it is, or undefined when it is gone. Without inputs it is an import. */
  read(
    urn: string,
    id: string,
    olds: Values,
    oldInputs: Values,
  ): Promise<(Saved & { readonly inputs: Values }) | undefined>;
  delete(urn: string, id: string, olds: Values, timeout: number): Promise<void>;
  /** A function of the package, `aws:eks/getCluster:getCluster` say; without it there are none. */
  invoke?(token: string, args: Values): Promise<Values>;
  /** The update was interrupted: what waits gives up. */
  cancel(): void;
}
