import type { Owner, ServiceState } from "../runtime/supervisor";
import type { Context } from "./context";
import { describeOwner, sameOwner } from "./declarations/common";

/** Fails when another stack has taken a service over: what is its, is not for this one to change. */
export function demandOwned(service: ServiceState, { owner }: { readonly owner: Owner }): void {
  if (!sameOwner(service.claim.owner, owner)) throw new Error(takenOver(service));
}

/** Whether a service is still this stack's to remove; when another stack has taken it over, says that it stays. */
export function isOwned(service: ServiceState, { owner }: { readonly owner: Owner }, warn: Context["warn"]): boolean {
  if (sameOwner(service.claim.owner, owner)) return true;
  warn(`${takenOver(service)}: what serves it stays`);
  return false;
}

function takenOver({ name, claim }: ServiceState): string {
  return `service ${name} was taken over by ${describeOwner(claim.owner)} at ${claim.since}`;
}
