import type { ServerResponse } from "node:http";
import { sendError } from "./answers";

/** Tells a gateway that forwarded a request that it had no effect here: another gateway leads, or none does yet. */
export const notLeadingHeader = "x-comfyui-gateway-not-leading";

/** This gateway has ceased to be the one that may act; the request had no effect. */
export class NotLeadingError extends Error {
  override readonly name = "NotLeadingError";
  constructor() {
    super("this gateway no longer leads; the request had no effect and can be sent again");
  }
}

export function refuseNotLeading(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader(notLeadingHeader, "1");
  sendError(response, 503, "not_leading", new NotLeadingError().message, 1);
}
