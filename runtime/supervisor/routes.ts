import type { z } from "zod";
import type { Platform } from "./platform";
import type { SupervisorAbout } from "./protocol";
import { RefusedError } from "./refusal";
import {
  claimSchema,
  countSchema,
  createReleaseSchema,
  eventSchema,
  gatewaySchema,
  nameSchema,
  releaseClaimSchema,
  shutdownSchema,
  targetSchema,
  workstationSchema,
} from "./requests";

export interface RouteContext {
  readonly platform: Platform;
  readonly about: SupervisorAbout;
  /** Ends all processes, and the supervisor once its answer is out. */
  readonly shutdown: () => Promise<void>;
}

/** A decoded request: the path's variable parts in order, and the body. */
interface Asked {
  readonly context: RouteContext;
  readonly names: readonly string[];
  readonly body: unknown;
}

type Handler = (asked: Asked) => Promise<unknown> | unknown;

const first = ({ names }: Asked) => names[0] ?? "";
const second = ({ names }: Asked) => names[1] ?? "";

/** What is asked for by method and path; `:` stands for a name. */
const routes: Readonly<Record<string, Handler>> = {
  "GET /v1/about": ({ context }) => context.about,
  "GET /v1/state": ({ context }) => context.platform.state(context.about),
  "POST /v1/shutdown": ({ context, body }) => {
    const { force } = parse(shutdownSchema, body);
    if (!force && !context.platform.empty) {
      throw new RefusedError("invalid", `the supervisor still looks after ${context.platform.contents}`);
    }
    return context.shutdown();
  },

  "PUT /v1/services/:/claim": (asked) => asked.context.platform.claim(first(asked), parse(claimSchema, asked.body)),
  "DELETE /v1/services/:/claim": (asked) =>
    asked.context.platform.releaseClaim(first(asked), parse(releaseClaimSchema, asked.body).owner),
  "GET /v1/services/:": (asked) => asked.context.platform.service(first(asked)).state(),
  "PUT /v1/services/:/gateway": (asked) => {
    const declaration = parse(gatewaySchema, asked.body);
    return asked.context.platform.change(first(asked), (service) => service.declareGateway(declaration));
  },
  "DELETE /v1/services/:/gateway": (asked) => asked.context.platform.removeGateway(first(asked)),
  "GET /v1/services/:/deployer-token": (asked) => ({
    token: asked.context.platform.service(first(asked)).deployerToken,
  }),

  "POST /v1/services/:/releases": (asked) => {
    const { owner, spec } = parse(createReleaseSchema, asked.body);
    return asked.context.platform.change(first(asked), (service) => service.createRelease(owner, spec));
  },
  "PUT /v1/services/:/releases/:/count": (asked) => {
    const { count } = parse(countSchema, asked.body);
    return asked.context.platform.change(first(asked), (service) => service.setCount(second(asked), count));
  },
  "POST /v1/services/:/releases/:/events": (asked) => {
    const { event, detail } = parse(eventSchema, asked.body);
    return asked.context.platform.change(first(asked), (service) => service.recordEvent(second(asked), event, detail));
  },
  "DELETE /v1/services/:/releases/:": (asked) => asked.context.platform.removeRelease(first(asked), second(asked)),
  "PUT /v1/services/:/target": (asked) => {
    const { release, expectedServing } = parse(targetSchema, asked.body);
    return asked.context.platform.change(first(asked), (service) => service.setTarget(release, expectedServing));
  },
  "DELETE /v1/services/:/target": (asked) =>
    asked.context.platform.change(first(asked), (service) => service.clearTarget()),

  "PUT /v1/workstations/:": (asked) =>
    asked.context.platform.declareWorkstation(first(asked), parse(workstationSchema, asked.body)),
  "GET /v1/workstations/:": (asked) => asked.context.platform.workstation(first(asked)),
  "DELETE /v1/workstations/:": async (asked) => ({
    gone: await asked.context.platform.removeWorkstation(first(asked)),
  }),
  "POST /v1/workstations/:/restart": (asked) => asked.context.platform.restartWorkstation(first(asked)),
};

/** Answers a request. @throws {RefusedError} */
export async function answer(context: RouteContext, method: string, path: string, body: unknown): Promise<unknown> {
  const parts = path.split("/").map(decodeURIComponent);
  const found = Object.entries(routes).find(([route]) => matches(route, method, parts));
  if (found === undefined) throw new RefusedError("not-found", `there is no request ${method} ${path}`);
  const [route, handler] = found;
  const names = route.split("/").flatMap((part, at) => (part === ":" ? [parse(nameSchema, parts[at])] : []));
  return handler({ context, names, body });
}

function matches(route: string, method: string, parts: readonly string[]): boolean {
  const [wantedMethod, wantedPath = ""] = route.split(" ");
  const wanted = wantedPath.split("/");
  return (
    wantedMethod === method &&
    wanted.length === parts.length &&
    wanted.every((part, at) => part === ":" || part === parts[at])
  );
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) => `${path.join(".") || "the request"}: ${message}`);
  throw new RefusedError("invalid", problems.join("\n"), { problems });
}
