import type { SupervisorClient } from "./client";

/**
 * Records that a release has failed, and takes its instances away: what they hold is needed to try again. Those of the serving
 * release stay.
 *
 * @returns what that means for users, and what could not be taken away; never throws, since whoever calls has an error to tell already
 */
export async function failRelease(
  supervisor: SupervisorClient,
  { service, release }: { readonly service: string; readonly release: string },
  detail: string,
): Promise<string> {
  try {
    const serving = (await supervisor.service(service))?.serving ?? null;
    await supervisor.recordEvent(service, release, "failed", detail);
    if (serving === release) return "it goes on serving";
    await supervisor.setCount(service, release, 0);
    return serving === null ? "the service has no release that serves" : `traffic stays on ${serving}`;
  } catch (error) {
    return `its instances could not be taken away and stay: ${(error as Error).message}`;
  }
}
