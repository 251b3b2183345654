import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { build } from "esbuild";
import { afterEach, beforeEach, expect, test } from "vitest";
import { burst } from "../../bench/allowance";
import { startProxy } from "../../bench/s3-server";
import { type Clock, ThrottlingProxy } from "../../bench/throttling-proxy";
import { waitFor } from "../../runtime/waiting";
import { temporaryFolder } from "../support/trees";

/** Bytes that Node.js reads from a socket at a time. */
const piece = 65_536;
const rate = 10_000_000;

/** Time stands still until a test says so. */
class HandClock implements Clock {
  #now = 0;
  #waiting: { readonly at: number; readonly done: () => void }[] = [];
  readonly now = () => this.#now;
  readonly after = (milliseconds: number, done: () => void) =>
    void this.#waiting.push({ at: this.#now + milliseconds, done });

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Moves on to when the first of those who wait may go on. */
  moveOn(): void {
    this.#now = Math.min(...this.#waiting.map(({ at }) => at));
    const due = this.#waiting.filter(({ at }) => at <= this.#now);
    this.#waiting = this.#waiting.filter(({ at }) => at > this.#now);
    for (const { done } of due) done();
  }
}

let server: Server;
let received: Buffer[];
let sockets: Socket[];
let answer: Buffer;
beforeEach(async () => {
  received = [];
  sockets = [];
  answer = Buffer.alloc(0);
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("data", (bytes) => received.push(bytes));
    socket.on("error", () => undefined);
    socket.on("end", () => socket.end(answer));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  server.close();
  await once(server, "close");
});

const start = (bytesPerSecond: number, clock?: Clock) => {
  const target = { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
  return ThrottlingProxy.start({ target, bytesPerSecond, ...(clock === undefined ? {} : { clock }) });
};

async function answerTo(port: number, request: Buffer): Promise<Buffer> {
  const pieces: Buffer[] = [];
  // Half open: what is sent ends before the answer comes.
  const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  client.on("data", (bytes) => pieces.push(bytes));
  client.end(request);
  await once(client, "end");
  return Buffer.concat(pieces);
}

test("what passes is the same on the other side, in both directions, and is counted", async () => {
  const proxy = await start(Number.POSITIVE_INFINITY);
  answer = randomBytes(2_000_000);
  const request = randomBytes(3_000_000);

  const answered = await answerTo(proxy.port, request);

  expect(answered.equals(answer)).toBe(true);
  expect(Buffer.concat(received).equals(request)).toBe(true);
  expect(proxy.passed).toEqual({ mostConnections: 1, up: 3_000_000, down: 2_000_000 });
  await proxy.close();
});

test("a connection passes no more than its rate allows by the clock, and all of it in the end", async () => {
  const clock = new HandClock();
  const proxy = await start(rate, clock);
  const request = randomBytes(1_500_000);
  let held = 0;

  const client = connect({ port: proxy.port, host: "127.0.0.1" });
  client.end(request);
  for (;;) {
    await waitFor({
      what: "the proxy to hold the connection, or to be done with it",
      deadline: 60_000,
      look: () => clock.waiting > 0 || proxy.passed.up === request.length || undefined,
    });
    expect(proxy.passed.up).toBeLessThanOrEqual((rate * clock.now()) / 1000 + burst * rate + piece + 1);
    if (clock.waiting === 0) break;
    held += 1;
    clock.moveOn();
  }

  expect(held).toBeGreaterThan(10);
  // All but what may pass at once has taken its time.
  expect(clock.now()).toBeGreaterThanOrEqual((request.length / rate - burst) * 1000 - (piece / rate) * 1000);
  await waitFor({
    what: "the bytes at the server",
    deadline: 60_000,
    look: () => received.reduce((sum, { length }) => sum + length, 0) === request.length || undefined,
  });
  expect(Buffer.concat(received).equals(request)).toBe(true);
  await proxy.close();
});

test("each connection has a rate of its own", async () => {
  const clock = new HandClock();
  const proxy = await start(rate, clock);
  const clients = [1, 2, 3].map(() => connect({ port: proxy.port, host: "127.0.0.1" }));

  for (const client of clients) client.write(randomBytes(1_000_000));
  await waitFor({ what: "three held connections", deadline: 60_000, look: () => clock.waiting === 3 || undefined });

  expect(proxy.passed.mostConnections).toBe(3);
  // More than one alone may pass at once, at a clock that stands still.
  expect(proxy.passed.up).toBeGreaterThan(3 * burst * rate);
  expect(proxy.passed.up).toBeLessThanOrEqual(3 * (burst * rate + piece));
  for (const client of clients) client.destroy();
  await proxy.close();
});

test("when one side breaks the connection, the other side learns of it", async () => {
  const proxy = await start(rate);
  const client = connect({ port: proxy.port, host: "127.0.0.1" });
  client.on("error", () => undefined);
  client.write("hello");
  const socket = await waitFor({ what: "the connection", deadline: 60_000, look: () => sockets[0] });

  const closed = once(client, "close");
  socket.resetAndDestroy();

  await closed;
  await proxy.close();
});

test("as a process of its own it tells its address, and at its end what has passed", async () => {
  const folder = temporaryFolder();
  try {
    const program = join(folder.path, "proxy.cjs");
    const entryPoints = [join(__dirname, "../../bench/throttling-proxy-main.ts")];
    await build({ entryPoints, outfile: program, bundle: true, platform: "node", format: "cjs", logLevel: "warning" });
    answer = randomBytes(200_000);
    const request = randomBytes(300_000);
    const { port } = server.address() as AddressInfo;

    const proxy = await startProxy(program, port, 1e9);
    const answered = await answerTo(Number(new URL(proxy.endpoint).port), request);

    expect(answered.equals(answer)).toBe(true);
    expect(Buffer.concat(received).equals(request)).toBe(true);
    expect(await proxy.stop()).toEqual({ mostConnections: 1, up: 300_000, down: 200_000 });
    await expect(startProxy(program, port, 0)).rejects.toThrow("the proxy ended");
  } finally {
    folder.remove();
  }
});
