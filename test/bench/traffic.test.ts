import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { waitFor } from "../../runtime/waiting";
import { startTraffic, type Traffic } from "../support/traffic";

/** What a ComfyUI does with the next prompt. */
type Fate = "finish" | "refuse" | "fail" | "lose" | "close socket";

let servers: { http: Server; sockets: WebSocketServer } | undefined;
afterEach(() => {
  for (const client of servers?.sockets.clients ?? []) client.terminate();
  servers?.http.closeAllConnections();
  servers?.http.close();
});

/** A ComfyUI that treats its prompts one after the other as it is told, and all others well. */
async function comfyuiWith(fates: Fate[]): Promise<string> {
  const history: Record<string, unknown> = {};
  let prompts = 0;
  const http = createServer((request, response) => {
    const id = request.url?.split("/history/")[1];
    if (id !== undefined) return void response.end(JSON.stringify(id in history ? { [id]: history[id] } : {}));
    const fate = fates.shift() ?? "finish";
    const prompt_id = `prompt-${prompts++}`;
    if (fate === "refuse") return void response.writeHead(503).end();
    const type = fate === "fail" ? "execution_error" : "execution_success";
    if (fate === "close socket") for (const client of sockets.clients) client.close(1001);
    else for (const client of sockets.clients) client.send(JSON.stringify({ type, data: { prompt_id } }));
    if (fate !== "lose") {
      history[prompt_id] = { outputs: { version: "1" }, status: { status_str: fate === "fail" ? "error" : "success" } };
    }
    response.end(JSON.stringify({ prompt_id }));
  });
  const sockets = new WebSocketServer({ server: http });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  servers = { http, sockets };
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

const trafficTo = (url: string): Traffic =>
  startTraffic({
    url,
    clients: 1,
    workflow: () => ({}),
    versionIn: (outputs) => (outputs as { version?: string }).version,
    patience: 500,
  });

const finished = ({ seen }: Traffic, count: number) =>
  waitFor({ what: `${count} prompts`, deadline: 30_000, look: () => (seen.finished >= count ? true : undefined) });

test("clients that are served well complain of nothing", async () => {
  const traffic = trafficTo(await comfyuiWith([]));
  await finished(traffic, 3);

  expect(await traffic.stop()).toMatchObject({ complaints: [], counts: { requests: 0, prompts: 0, sockets: 0 } });
});

test("what clients complain of is counted by its kind, and they go on", async () => {
  const traffic = trafficTo(await comfyuiWith(["finish", "refuse", "fail", "lose", "close socket"]));
  await finished(traffic, 4);

  const { counts, complaints } = await traffic.stop();
  expect(counts).toEqual({ requests: 1, prompts: 2, sockets: 1 });
  expect(complaints).toHaveLength(4);
});

test("a client that finds nobody says so, and stops", async () => {
  const url = await comfyuiWith([]);
  servers?.http.close();
  const traffic = trafficTo(url);
  await waitFor({
    what: "the complaint",
    deadline: 30_000,
    look: () => (traffic.seen.complaints.length > 0 ? true : undefined),
  });

  expect(traffic.seen.complaints[0]).toContain("a client could not start");
});
