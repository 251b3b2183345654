/** Who a gateway is, as it stands in the Lease: `<pod>_<address>`. Names of pods have no underscore. */
export interface Identity {
  readonly pod: string;
  /** Of the pod. */
  readonly address: string;
}

export function identityText({ pod, address }: Identity): string {
  return `${pod}_${address}`;
}

/** Null for what no gateway has written. */
export function parseIdentity(text: string): Identity | null {
  const [, pod, address] = /^([^_]+)_(.+)$/.exec(text) ?? [];
  return pod === undefined || address === undefined ? null : { pod, address };
}
