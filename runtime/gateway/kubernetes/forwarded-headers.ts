import type { IncomingMessage } from "node:http";

/** Says that another gateway of the service passes this request on, and which; it is not passed on once more. */
export const hopHeader = "x-comfyui-gateway-hop";

/** Belong to one connection (RFC 9110, 7.6.1), or are set anew. */
const ofConnection = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "expect",
]);

/** The headers of a client's request for the leader: with the client's address, so that it counts as from outside. */
export function forwardedHeaders(
  { headers, socket }: IncomingMessage,
  me: string,
): NodeJS.Dict<string | number | string[]> {
  const passed = Object.fromEntries(
    Object.entries(headers).filter(([name]) => !ofConnection.has(name) || (name === "te" && headers.te === "trailers")),
  );
  const chunked = headers["transfer-encoding"] === undefined ? {} : { "transfer-encoding": "chunked" };
  const address = socket.remoteAddress ?? "";
  const earlier = [headers["x-forwarded-for"] ?? []].flat();
  return {
    ...passed,
    ...chunked,
    "x-forwarded-for": [...earlier, address].join(","),
    "x-forwarded-proto": headers["x-forwarded-proto"] ?? "http",
    "x-forwarded-host": headers["x-forwarded-host"] ?? headers.host ?? "",
    [hopHeader]: me,
  };
}

/** The headers of an answer that are not of its connection alone, as names and values in turn. */
export function passableHeaders(raw: readonly string[]): string[] {
  const passed: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const [name = "", value = ""] = [raw[index], raw[index + 1]];
    if (!ofConnection.has(name.toLowerCase())) passed.push(name, value);
  }
  return passed;
}
