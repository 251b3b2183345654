import { once } from "node:events";
import { createServer, type IncomingMessage, ServerResponse } from "node:http";
import { type AddressInfo, Socket } from "node:net";
import { createProxyServer } from "http-proxy-3";
import { deployerTokenHeader, releaseHeader } from "../gateway/targets";

export interface CandidateProxy extends AsyncDisposable {
  /** On the loopback interface. */
  readonly url: string;
}

/**
 * Leads requests and WebSockets to one release of a gateway's service, whether or not it serves: with the deployer's token, which who
 * asks does not need to know.
 */
export async function startCandidateProxy(
  gateway: string,
  { token, release }: { readonly token: string; readonly release: string },
): Promise<CandidateProxy> {
  const proxy = createProxyServer({
    target: gateway,
    headers: { [deployerTokenHeader]: token, [releaseHeader]: release },
    ws: true,
  });
  proxy.on("error", (error, _request, answer) => {
    if (answer instanceof Socket) answer.destroy();
    else if (answer instanceof ServerResponse) refuse(answer, error);
  });
  const sockets = new Set<Socket>();
  const server = createServer((request: IncomingMessage, response) => proxy.web(request, response));
  server.on("upgrade", (request, socket, head) => proxy.ws(request, socket as Socket, head));
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function refuse(response: ServerResponse, error: Error): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = { error: { type: "gateway_unreachable", message: `the gateway was not reached: ${error.message}` } };
  response.writeHead(502, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}
