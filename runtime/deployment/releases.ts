import { createHash, randomInt } from "node:crypto";
import type { DeploymentRecord, RecordedRelease } from "./record";
import type { Owner, ReleaseEventName, ReleaseSpec } from "./types";

/** How many releases a service remembers. */
const mostRemembered = 200;
const letters = "abcdefghijklmnopqrstuvwxyz0123456789";

/** Identity of a spec: equal for two specs of equal meaning, whatever the order of their properties. */
export function specHash(spec: ReleaseSpec): string {
  return createHash("sha256").update(canonicalJson(spec)).digest("hex");
}

export function sameOwner(a: Owner, b: Owner): boolean {
  return a.organization === b.organization && a.project === b.project && a.stack === b.stack;
}

/** How a person names an owner. */
export function ownerName({ organization, project, stack }: Owner): string {
  return `${organization}/${project}/${stack}`;
}

/** Whether nobody has asked for anything of a release since it was recorded: its creator may have been killed before hearing of it. */
export function isUnconfirmed({ confirmed, events }: RecordedRelease): boolean {
  return !confirmed && events.every(({ event }) => event === "created");
}

export function hasServed({ events }: Pick<RecordedRelease, "events">): boolean {
  return events.some(({ event }) => event === "serving");
}

/** Why a release that gets the traffic does not go, and what can be done where no resource would move it. */
export function servingText(release: string, service: string): string {
  return `release ${release} still gets the traffic of service ${service}: its instances stay. Where the run that moved the traffic was killed, "pulumi-comfyui recover --include-serving" ends it`;
}

/** Whether a release will never have instances again. */
export function isOver({ events }: Pick<RecordedRelease, "events">): boolean {
  return events.some(({ event }) => event === "removed" || event === "abandoned");
}

export function withEvent<R extends RecordedRelease>(
  release: R,
  event: ReleaseEventName,
  at: string,
  detail?: string,
): R {
  const changed = {
    ...release,
    events: [...release.events, { event, at, ...(detail === undefined ? {} : { detail }) }],
  };
  return isOver(changed) ? withoutSmoke(changed) : changed;
}

/** A release that is over is history; its smoke workflow, the one large part of it, would be written again with every change. */
function withoutSmoke<R extends RecordedRelease>(release: R): R {
  const { spec } = release;
  return { ...release, spec: { ...spec, health: { ...spec.health, smoke: null } } };
}

/** The last of these events that a release has, or null. */
export function lastOf({ events }: RecordedRelease, names: readonly ReleaseEventName[]): ReleaseEventName | null {
  return events.findLast(({ event }) => names.includes(event))?.event ?? null;
}

/** What of a release's instances decides what a change of its count means. */
export interface Present {
  /** Instances that are wanted so far. */
  readonly wanted: number;
  /** Whether any instance has still to go. */
  readonly anyLeaving: boolean;
}

/** A release that somebody wants so many instances of. */
export function withCount<R extends RecordedRelease>(release: R, count: number, present: Present, at: string): R {
  const starts = count > 0 && present.wanted === 0 && release.events.at(-1)?.event !== "started";
  const stopsServing = count === 0 && lastOf(release, ["serving", "draining", "drained"]) === "serving";
  // Nobody's work is on the instances of a release that never served.
  const drains = hasServed(release) && (count < present.wanted || present.anyLeaving);
  const goesOn = release.drain !== null && release.drain.refused === null;
  let changed: R = { ...release, count, confirmed: true };
  if (starts) changed = withEvent(changed, "started", at);
  if (stopsServing) changed = withEvent(changed, "draining", at);
  if (drains && !goesOn) changed = { ...changed, drain: { startedAt: at, deadlineAt: at, refused: null } };
  return changed;
}

/** Replaces one release of a service. */
export function withRelease<S extends DeploymentRecord>(service: S, changed: S["releases"][number]): S {
  return { ...service, releases: service.releases.map((release) => (release.id === changed.id ? changed : release)) };
}

/**
 * Records a release: the newest of its owner that is equal and unconfirmed is adopted, any other unconfirmed one abandoned, and
 * otherwise the next revision taken.
 */
export function recordRelease<S extends DeploymentRecord>(
  service: S,
  owner: Owner,
  spec: ReleaseSpec,
  at: string,
  hash = specHash(spec),
): { readonly service: S; readonly release: RecordedRelease } {
  const open = service.releases.filter((release) => isUnconfirmed(release) && sameOwner(release.owner, owner));
  const adopted = open.findLast((release) => release.specHash === hash);
  const settled = service.releases.map((release) =>
    open.includes(release) && release !== adopted ? withEvent(release, "abandoned", at) : release,
  );
  if (adopted !== undefined) return { service: { ...service, releases: settled }, release: adopted };
  const revision = service.revision + 1;
  const release: RecordedRelease = {
    id: `r${revision}-${randomText(5)}`,
    revision,
    owner,
    specHash: hash,
    spec,
    count: 0,
    drain: null,
    events: [{ event: "created", at }],
    confirmed: false,
  };
  return { service: { ...service, revision, releases: forget([...settled, release]) }, release };
}

/** Lets go of the oldest releases that are over. */
function forget<R extends RecordedRelease>(releases: readonly R[]): readonly R[] {
  let surplus = releases.length - mostRemembered;
  return releases.filter((release) => {
    if (surplus <= 0 || !isOver(release)) return true;
    surplus--;
    return false;
  });
}

function randomText(length: number): string {
  return Array.from({ length }, () => letters[randomInt(letters.length)]).join("");
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
